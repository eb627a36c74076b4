"""Which server a call goes to, what goes with it, and what is tried again; both clients share the channel's options."""

from __future__ import annotations

import asyncio
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from lapis.client import (
    AsyncClient,
    Client,
    ControlDisabled,
    ModelNotFound,
    ModelUnusable,
    NotReady,
    Translation,
    Unreachable,
)

if TYPE_CHECKING:
    from conftest import Server


@pytest.fixture
def two(serve: Callable[..., Server]) -> tuple[Server, Server]:
    return serve(), serve()


def joined(*servers: Server) -> str:
    return ",".join(server.address for server in servers)


def counts(*servers: Server) -> list[int]:
    return [len(server.service.requests) for server in servers]


def forget(*servers: Server) -> None:
    for server in servers:
        server.service.requests.clear()


def translate_until_both_answer(client: Client, *servers: Server) -> None:
    """Waits for connections in the only way that calls can: a balancer uses what it has."""
    while not all(counts(*servers)):
        client.translate(b"warm")
    forget(*servers)


def test_calls_go_round_all_servers(two: tuple[Server, Server]) -> None:
    with Client(joined(*two)) as client:
        translate_until_both_answer(client, *two)
        for _ in range(20):
            client.translate(b"a")
    assert counts(*two) == [10, 10]


async def test_calls_go_round_all_servers_in_asyncio(two: tuple[Server, Server]) -> None:
    async with AsyncClient(joined(*two)) as client:
        while not all(counts(*two)):
            await client.translate(b"warm")
        forget(*two)
        await asyncio.gather(*(client.translate(b"a") for _ in range(20)))
    assert counts(*two) == [10, 10]


def test_server_that_drains_gets_nothing_more_and_no_call_fails(two: tuple[Server, Server]) -> None:
    staying, leaving = two
    with Client(joined(*two)) as client, ThreadPoolExecutor(4) as callers:
        translate_until_both_answer(client, *two)
        calls = [callers.submit(client.translate, b"%d" % number) for number in range(200)]
        leaving.set_health(healthy=False)
        calls += [callers.submit(client.translate, b"%d" % number) for number in range(200, 400)]
        assert all(isinstance(call.result(), Translation) for call in calls)
        # Its connection lives: only what it says of its health keeps calls from it.
        served = len(leaving.service.requests)
        for _ in range(50):
            client.translate(b"after")
        assert len(leaving.service.requests) == served
        leaving.set_health(healthy=True)
        forget(*two)
        translate_until_both_answer(client, staying, leaving)


def test_call_that_one_server_refuses_as_unready_goes_to_the_other(two: tuple[Server, Server]) -> None:
    with Client(joined(*two)) as client:
        translate_until_both_answer(client, *two)
        two[0].service.refuses = "NOT_READY"
        for _ in range(4):
            client.translate(b"a")
    assert min(counts(*two)) > 0


def test_server_that_is_gone_is_done_without(two: tuple[Server, Server]) -> None:
    staying, leaving = two
    with Client(joined(*two)) as client:
        translate_until_both_answer(client, *two)
        leaving.stop()
        for _ in range(50):
            client.translate(b"a")
    assert counts(staying) == [50]


def test_models_can_be_asked_about_where_no_picture_is_taken(serve: Callable[..., Server]) -> None:
    server = serve(healthy=False)
    with Client(server.address) as client:
        with pytest.raises(NotReady, match=f"the server at {server.address} takes no requests now"):
            client.translate(b"a")
        assert [model.name for model in client.list_models()] == ["edges2emoji"]
        assert client.load_model("edges2emoji").state == "ready"
    assert server.service.requests == []


def test_health_of_one_model_is_enough_for_who_asks_for_it_alone(serve: Callable[..., Server]) -> None:
    server = serve(healthy=False)
    server.health.set("edges2emoji", 1)
    with Client(server.address, health_service="edges2emoji") as client:
        assert client.translate(b"a").model == "edges2emoji"


def test_health_is_not_asked_where_it_is_not_wanted(serve: Callable[..., Server]) -> None:
    with Client(serve(healthy=False).address, health_service=None) as client:
        assert client.translate(b"a").model == "edges2emoji"


def test_server_without_health_checks_counts_as_serving(serve: Callable[..., Server]) -> None:
    with Client(serve(healthy=None).address) as client:
        assert client.translate(b"a").model == "edges2emoji"


def load_report(utilization: float) -> tuple[tuple[str, bytes], ...]:
    """An xds.data.orca.v3.OrcaLoadReport: application_utilization is field 9, rps_fractional field 6, both doubles."""
    report = struct.pack("<BdBd", 9 << 3 | 1, utilization, 6 << 3 | 1, 100.0)
    return (("endpoint-load-metrics-bin", report),)


def test_busy_server_gets_less_where_load_reports_are_heeded(two: tuple[Server, Server]) -> None:
    idle, busy = two
    idle.service.trailers, busy.service.trailers = load_report(0.1), load_report(0.9)
    with Client(joined(*two), balancing="weighted_round_robin") as client:
        for _ in range(500):  # reports count after a second
            forget(*two)
            for _ in range(40):
                client.translate(b"a")
            if counts(busy)[0] * 3 < counts(idle)[0]:
                return
    pytest.fail("both servers get as much")


def test_unknown_balancing_is_told(server: Server) -> None:
    with pytest.raises(ValueError, match="balancing must be one of round_robin, weighted_round_robin, not 'random'"):
        Client(server.address, balancing="random")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    "address", ["localhost:{}", "dns:///localhost:{}", "ipv4:127.0.0.1:{}", "localhost:{},nowhere.invalid:1"]
)
def test_names_and_targets_are_addresses(server: Server, address: str) -> None:
    with Client(address.format(server.address.partition(":")[2])) as client:
        assert client.translate(b"a").model == "edges2emoji"


def test_addresses_of_both_families_go_together(serve: Callable[..., Server]) -> None:
    try:
        six = serve("[::1]:0")
    except RuntimeError:
        pytest.skip("no IPv6 here")
    four = serve()
    with Client(f"{six.address.replace('127.0.0.1', '[::1]')},{four.address}") as client:
        translate_until_both_answer(client, six, four)


def test_names_that_are_not_known_are_an_error_of_the_call() -> None:
    with Client("nowhere.invalid:1,neither.invalid:2") as client, pytest.raises(Unreachable, match=r"nowhere\.invalid"):
        client.translate(b"a")


@pytest.mark.parametrize("address", ["a:1,b", "a:1,", "a:1,b:http", "a:1,b:65536"])
def test_list_of_what_are_no_addresses_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        Client(address)


def test_token_and_metadata_go_with_every_call(server: Server) -> None:
    with Client(server.address, token="s3cret", metadata=[("x-team", "cats")]) as client:
        client.translate(b"a")
        list(client.translate_stream([b"a"]))
        client.list_models()
        client.get_model()
        client.load_model("edges2emoji")
        client.unload_model("edges2emoji")
    assert len(server.service.metadata) == 6
    assert all(sent["authorization"] == "Bearer s3cret" for sent in server.service.metadata)
    assert all(sent["x-team"] == "cats" for sent in server.service.metadata)


async def test_token_and_metadata_go_with_every_call_in_asyncio(server: Server) -> None:
    async with AsyncClient(server.address, token="s3cret", metadata=[("x-team", "cats")]) as client:
        await client.translate(b"a")
        assert [result.get().model async for result in client.translate_stream([b"a"])] == ["edges2emoji"]
        await client.list_models()
        await client.get_model()
        await client.load_model("edges2emoji")
        await client.unload_model("edges2emoji")
    assert len(server.service.metadata) == 6
    assert all(sent["authorization"] == "Bearer s3cret" for sent in server.service.metadata)
    assert all(sent["x-team"] == "cats" for sent in server.service.metadata)


def test_models_are_loaded_and_unloaded_on_request(server: Server) -> None:
    with Client(server.address) as client:
        [unloaded] = client.unload_model("edges2emoji", "1")
        assert (unloaded.name, unloaded.version, unloaded.state) == ("edges2emoji", "1", "unloaded")
        assert client.get_model().state == "unloaded"
        loaded = client.load_model("edges2emoji", "stable")
    assert (loaded.name, loaded.state, loaded.labels) == ("edges2emoji", "ready", ("latest", "stable"))


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("CONTROL_DISABLED", ControlDisabled),
        ("MODEL_UNUSABLE", ModelUnusable),
        ("MODEL_NOT_FOUND", ModelNotFound),
    ],
)
async def test_control_that_is_refused_says_why(server: Server, reason: str, error: type[Exception]) -> None:
    with Client(server.address) as client, pytest.raises(error):
        client.load_model(reason)
    async with AsyncClient(server.address) as asynchronous:
        with pytest.raises(error):
            await asynchronous.unload_model(reason)


class Certificate:
    """A certificate for the name `localhost`, which signs itself."""

    def __init__(self, folder: Path) -> None:
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names)
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.path = certificate
        self.pem = certificate.read_bytes()
        self.server = grpc.ssl_server_credentials([(key.read_bytes(), self.pem)])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certificate]:
    try:
        yield Certificate(tmp_path_factory.mktemp("tls"))
    except FileNotFoundError:
        pytest.skip("no openssl here")


async def test_encrypted_servers_are_called_and_checked(serve: Callable[..., Server], certificate: Certificate) -> None:
    servers = serve(tls=certificate.server), serve(tls=certificate.server)
    address = joined(*servers).replace("127.0.0.1", "localhost")
    trusted = grpc.ssl_channel_credentials(certificate.pem)
    async with AsyncClient(address, credentials=trusted, token="s3cret") as client:
        assert (await client.translate(b"a")).model == "edges2emoji"
    with Client(address, credentials=trusted) as threaded:
        translate_until_both_answer(threaded, *servers)
    with Client(address, credentials=grpc.ssl_channel_credentials()) as client, pytest.raises(Unreachable):
        client.translate(b"a")
