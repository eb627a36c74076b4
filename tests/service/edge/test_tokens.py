"""Bearer tokens: what the file may hold, and who gets in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from lapis.v1 import repository_pb2
from lapis.v1 import translation_pb2 as pb
from structlog.testing import capture_logs

from service.edge.tokens import Tokens
from service.errors import StartupError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.service.edge.conftest import Edge, Edged, Reason

    Metadata = tuple[tuple[str, str], ...]

SECRET = "c2VjcmV0LXN0dWRpbw=="


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# who may call\nstudio {SECRET}\n\nstudio another\t# while the old one is exchanged\nlab LAB\r\n")
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def test_token_stands_for_a_name(file: Path) -> None:
    tokens = Tokens(file)
    assert [tokens.name(bearer(token)) for token in (SECRET, "another", "LAB")] == ["studio", "studio", "lab"]
    assert tokens.name((("authorization", f"bearer  {SECRET} "),)) == "studio"


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        (),
        (("x-authorization", f"Bearer {SECRET}"),),
        (("authorization", SECRET),),
        (("authorization", f"Basic {SECRET}"),),
        (("authorization", "Bearer "),),
        bearer("studio"),
        bearer(SECRET[:-1]),
        bearer(SECRET + "="),
        bearer(SECRET.lower()),
        bearer("#"),
    ],
)
def test_without_a_known_token_nobody_has_a_name(file: Path, metadata: Metadata | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        Tokens(file).name(metadata)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("studio 123\nlab\n", "line 2: must be `NAME TOKEN`"),
        ("studio 12 34", "line 1: must be `NAME TOKEN`"),
        ("# nobody\n", "holds no token, so that nobody could call"),
        ("", "holds no token"),
        ("studio 123\n\n\nlab 1ä3", "line 4: the token has other characters than letters"),
        ("studio 123\nlab 123", "line 2: the token is that of studio, too"),
    ],
)
def test_malformed_file_is_refused_with_its_line_and_without_what_is_in_it(
    file: Path, text: str, complaint: str
) -> None:
    file.write_text(text)
    with pytest.raises(StartupError) as refused:
        Tokens(file)
    message = str(refused.value)
    assert message.startswith(f"--tokens: {file}")
    assert complaint in message
    assert not {"123", "1ä3"} & set(message.split())


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: path.write_bytes(b"a \xff"), "is not text in UTF-8"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_unreadable_file_is_refused(file: Path, make: Callable[[Path], object], complaint: str) -> None:
    make(file)
    with pytest.raises(StartupError, match=complaint):
        Tokens(file)


async def refused(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return error.value


async def first_answer(edge: Edge, metadata: Metadata) -> pb.TranslateStreamResponse:
    stream = edge.stub.TranslateStream(metadata=metadata)
    if metadata == bearer(SECRET):  # what is sent on a call that was just refused fails as INTERNAL, with gRPC's caller
        await stream.write(pb.TranslateStreamRequest(request=pb.TranslateRequest(encoded=b"ab")))
    answer: pb.TranslateStreamResponse = await stream.read()
    return answer


CALLS: dict[str, Callable[[Edge, Metadata], Awaitable[object]]] = {
    "Translate": lambda edge, metadata: edge.stub.Translate(pb.TranslateRequest(encoded=b"ab"), metadata=metadata),
    "TranslateStream": first_answer,
    "ListModels": lambda edge, metadata: edge.stub.ListModels(pb.ListModelsRequest(), metadata=metadata),
    "GetModel": lambda edge, metadata: edge.stub.GetModel(pb.GetModelRequest(model="m"), metadata=metadata),
}


@pytest.mark.parametrize("method", CALLS)
async def test_every_call_needs_a_token(edged: Edged, file: Path, reason: Reason, method: str) -> None:
    call = CALLS[method]
    async with edged(tokens=file) as edge:
        assert await call(edge, bearer(SECRET))
        for metadata in ((), bearer("wrong")):
            error = await refused(call(edge, metadata))
            assert reason(error) == "UNAUTHENTICATED"
        assert len(edge.script.orders) == int(method.startswith("Translate"))
        labels = {"method": method, "model": "", "version": "", "code": "UNAUTHENTICATED"}
        assert edge.metric("lapis_request_seconds_count", **labels) == 2
        assert edge.metric("lapis_refused_requests_total", model="", version="", reason="UNAUTHENTICATED") == 2


async def test_models_cannot_be_unloaded_without_a_token(edged: Edged, file: Path) -> None:
    async with edged(tokens=file, model_control=True) as edge:
        await refused(edge.control.UnloadModel(repository_pb2.UnloadModelRequest(model="m")))
        await refused(edge.control.LoadModel(repository_pb2.LoadModelRequest(model="m")))


async def test_health_and_reflection_need_no_token(edged: Edged, file: Path) -> None:
    async with edged(tokens=file) as edge:
        assert (await edge.health.Check(health_pb2.HealthCheckRequest())).status == 1
        assert (await edge.health.Watch(health_pb2.HealthCheckRequest()).read()).status == 1
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(edge.channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        assert [answer async for answer in reflection.ServerReflectionInfo(asked)]


async def test_what_a_stranger_sends_is_not_read(edged: Edged, file: Path) -> None:
    """More than the server takes in, which it would have said had it looked."""
    async with edged(tokens=file, max_picture_bytes=1000, max_picture_pixels=1000) as edge:
        too_large = pb.TranslateRequest(encoded=bytes(3_000_000))
        await refused(edge.stub.Translate(too_large))
        with pytest.raises(grpc.aio.AioRpcError) as known:
            await edge.stub.Translate(too_large, metadata=bearer(SECRET))
        assert known.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_exchanged_tokens_count_from_the_next_call_on(edged: Edged, file: Path) -> None:
    async with edged(tokens=file) as edge:
        write(file, "studio brand-new\n")
        assert await CALLS["ListModels"](edge, bearer("brand-new"))
        await refused(CALLS["ListModels"](edge, bearer(SECRET)))
        write(file, "studio\n")
        assert await CALLS["ListModels"](edge, bearer("brand-new"))


@pytest.mark.parametrize(
    ("key", "callers"), [("token", ["name:studio", "name:studio", "name:lab"]), ("peer", 3 * ["127.0.0.1"])]
)
async def test_callers_are_told_apart_by_the_names_of_their_tokens(
    edged: Edged, file: Path, key: str, callers: list[str]
) -> None:
    async with edged(tokens=file, caller_key=key) as edge:
        for token in (SECRET, "another", "LAB"):
            await CALLS["Translate"](edge, bearer(token))
    assert [order.caller for order in edge.script.orders] == callers


async def test_log_holds_no_token(edged: Edged, file: Path) -> None:
    with capture_logs() as logs:
        async with edged(tokens=file, log_level="debug", slow_request=0.000001) as edge:
            await CALLS["Translate"](edge, bearer(SECRET))
            await refused(CALLS["Translate"](edge, bearer("almost-" + SECRET)))
            write(file, f"studio {SECRET} {SECRET}\n")
            await CALLS["Translate"](edge, bearer(SECRET))
    assert {"tokens_failed", "request"} <= {line["event"] for line in logs}
    assert SECRET not in str(logs)
