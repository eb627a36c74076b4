"""TLS on the gRPC port, with certificates that are exchanged while it runs."""

from __future__ import annotations

import asyncio
import collections
import shutil
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography.hazmat.primitives import serialization as to
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc
from structlog.testing import capture_logs

from service.edge.tls import credentials
from service.errors import StartupError
from service.settings import ServeSettings
from tests.service.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.service.certificates import Pair
    from tests.service.edge.conftest import Edge, Edged

ALONE = ("grpc.use_local_subchannel_pool", 1)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("localhost", "127.0.0.1")


def settings(pair: Pair, client_ca: Path | None = None) -> dict[str, Path | None]:
    return {"tls_certificate": pair.certificate, "tls_key": pair.key, "tls_client_ca": client_ca}


@asynccontextmanager
async def caller(
    edge: Edge, trusted: grpc.ChannelCredentials, *options: tuple[str, int]
) -> AsyncIterator[pb_grpc.TranslationServiceAsyncStub]:
    """Connects anew."""
    address = f"localhost:{edge.port}"
    async with grpc.aio.secure_channel(address, trusted, options=[ALONE, *options]) as channel:
        yield pb_grpc.TranslationServiceStub(channel)


async def answer(edge: Edge, trusted: grpc.ChannelCredentials) -> bytes:
    async with caller(edge, trusted) as stub:
        return (await stub.Translate(pb.TranslateRequest(encoded=b"ab"))).encoded


async def refused(edge: Edge, trusted: grpc.ChannelCredentials) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await answer(edge, trusted)
    return error.value.code() is grpc.StatusCode.UNAVAILABLE


def shown(edge: Edge, authority: Authority) -> str:
    """Returns the serial number of the certificate that the server shows."""
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", edge.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        return str((encrypted.getpeercert() or {})["serialNumber"])


async def test_callers_must_encrypt_and_know_the_authority(
    edged: Edged, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    async with edged(**settings(pair)) as edge:
        assert await answer(edge, authority.credentials()) == b"ba"
        assert await refused(edge, Authority(tmp_path / "other").credentials())
        with pytest.raises(grpc.aio.AioRpcError) as plain:
            await edge.translate(b"ab")
        assert plain.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_callers_must_show_a_certificate_where_that_is_asked(
    edged: Edged, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    client, stranger = authority.issue("caller@studio"), Authority(tmp_path / "other").issue("caller@studio")
    async with edged(**settings(pair, authority.file)) as edge:
        assert await answer(edge, authority.credentials(client)) == b"ba"
        assert await refused(edge, authority.credentials())
        assert await refused(edge, authority.credentials(stranger))


async def test_exchanged_certificate_is_shown_to_who_comes_next_and_nobody_is_cut_off(
    edged: Edged, authority: Authority, pair: Pair
) -> None:
    async with edged(**settings(pair)) as edge, caller(edge, authority.credentials()) as connected:
        assert (await connected.Translate(pb.TranslateRequest(encoded=b"ab"))).encoded == b"ba"
        before = await asyncio.to_thread(shown, edge, authority)
        authority.issue("localhost", "127.0.0.1")
        after = await asyncio.to_thread(shown, edge, authority)
        assert before != after
        assert await answer(edge, authority.credentials()) == b"ba"
        assert (await connected.Translate(pb.TranslateRequest(encoded=b"abc"))).encoded == b"cba"


async def test_exchanged_authority_decides_on_who_comes_next(
    edged: Edged, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    successor = Authority(tmp_path / "successor")
    old, new = authority.issue("caller@studio"), successor.issue("caller@studio")
    asked = tmp_path / "ca.pem"
    shutil.copy(authority.file, asked)
    async with edged(**settings(pair, asked)) as edge:
        assert await refused(edge, authority.credentials(new))
        shutil.copy(successor.file, asked)
        assert await answer(edge, authority.credentials(new)) == b"ba"
        assert await refused(edge, authority.credentials(old))


async def test_broken_exchange_is_logged_and_the_old_certificate_goes_on(
    edged: Edged, authority: Authority, pair: Pair
) -> None:
    with capture_logs() as logs:
        async with edged(**settings(pair)) as edge:
            before = await asyncio.to_thread(shown, edge, authority)
            shutil.copy(authority.issue("localhost", into="other").key, pair.key)
            assert await asyncio.to_thread(shown, edge, authority) == before
            assert await answer(edge, authority.credentials()) == b"ba"
            authority.issue("localhost", "127.0.0.1")
            assert await asyncio.to_thread(shown, edge, authority) != before
    assert [line["event"] for line in logs if line["event"].startswith("tls")] == ["tls_failed", "tls_renewed"]
    assert str(pair.key) in next(line["reason"] for line in logs if line["event"] == "tls_failed")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda pair, _: pair.key.write_bytes(b"no key"), r"--tls-key .*tls\.key are not a certificate and its key"),
        (lambda pair, _: pair.certificate.write_bytes(b""), "--tls-certificate .*are not a certificate and its key"),
        (lambda pair, _: pair.key.unlink(), r"^--tls-key: .*tls\.key cannot be read: No such file"),
        (lambda pair, _: pair.certificate.unlink(), r"^--tls-certificate: .*tls\.crt cannot be read: No such file"),
        (lambda _, ca: ca.write_bytes(b"nobody"), r"^--tls-client-ca: .*ca\.pem does not hold certificates"),
        (lambda _, ca: ca.unlink(), r"^--tls-client-ca: .*ca\.pem cannot be read"),
    ],
)
def test_what_cannot_be_used_at_the_start_is_refused(
    authority: Authority, pair: Pair, spoil: Callable[[Pair, Path], object], complaint: str
) -> None:
    spoil(pair, authority.file)
    with pytest.raises(StartupError, match=complaint) as refusal:
        credentials(ServeSettings(**settings(pair, authority.file)))
    assert "\n" not in str(refusal.value)


def test_encrypted_key_is_refused_without_asking_for_its_password(pair: Pair) -> None:
    key = to.load_pem_private_key(pair.key.read_bytes(), None)
    locked = key.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.BestAvailableEncryption(b"password"))
    pair.key.write_bytes(locked)
    with pytest.raises(StartupError, match="the key is encrypted"):
        credentials(ServeSettings(**settings(pair)))


async def test_last_answer_gets_through_before_the_end(edged: Edged, authority: Authority, pair: Pair) -> None:
    large = b"x" * 3_000_000
    async with edged(**settings(pair)) as edge:
        edge.script.hold(large)
        async with caller(edge, authority.credentials(), ("grpc.max_receive_message_length", -1)) as stub:
            waiting = asyncio.ensure_future(stub.Translate(pb.TranslateRequest(encoded=large)))
            await edge.until(lambda: len(edge.script.orders) == 1)
            stopping = asyncio.create_task(edge.server.stop(10))
            edge.script.let_go(large)
            assert (await waiting).encoded == large
            await stopping


async def test_who_keeps_calling_a_server_that_stops_is_told_to_try_elsewhere(
    edged: Edged, authority: Authority, pair: Pair
) -> None:
    callers = 16
    async with edged(**settings(pair)) as edge, asyncio.TaskGroup() as tasks:
        ends = [tasks.create_task(call_until_it_ends(edge, authority)) for _ in range(callers)]
        await edge.until(lambda: len(edge.script.left) > 5 * callers)
        edge.registry.drain()
        edge.server.drain()
        await edge.server.stop(10)
    codes = collections.Counter(end.result() for end in ends)
    # Who happens to connect anew in the very moment may still be told that it gave up itself.
    assert codes[grpc.StatusCode.UNAVAILABLE] >= callers - 4
    assert codes.total() == codes[grpc.StatusCode.UNAVAILABLE] + codes[grpc.StatusCode.CANCELLED]


async def call_until_it_ends(edge: Edge, authority: Authority) -> grpc.StatusCode:
    async with caller(edge, authority.credentials(), ("grpc.enable_retries", 0)) as stub:
        while True:
            try:
                await stub.Translate(pb.TranslateRequest(encoded=b"ab"))
            except grpc.aio.AioRpcError as error:
                if "draining" not in str(error.details()):
                    return error.code()
