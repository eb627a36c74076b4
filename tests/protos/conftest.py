"""A real gRPC server whose behaviour a test chooses by the picture that it sends."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_status import rpc_status
from lapis.__main__ import main
from lapis.v1 import translation_pb2 as v1
from lapis.v1.repository_pb2 import LoadModelRequest, UnloadModelRequest
from lapis.v1.repository_pb2 import LoadModelResponse as Loaded
from lapis.v1.repository_pb2 import UnloadModelResponse as Unloaded
from lapis.v1.repository_pb2_grpc import RepositoryServiceServicer, add_RepositoryServiceServicer_to_server
from lapis.v1.translation_pb2_grpc import TranslationServiceServicer, add_TranslationServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING

# What service/ answers with; RESOURCE_EXHAUSTED comes with a RetryInfo.
CODES = {
    "INVALID_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_PICTURE": grpc.StatusCode.INVALID_ARGUMENT,
    "PICTURE_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "MODEL_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "NOT_READY": grpc.StatusCode.UNAVAILABLE,
    "QUEUE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "INFERENCE_FAILED": grpc.StatusCode.INTERNAL,
    "ENGINE_BROKEN": grpc.StatusCode.INTERNAL,
    "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE_UNREACHABLE": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "CALLER_LIMIT": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "CONTROL_DISABLED": grpc.StatusCode.PERMISSION_DENIED,
    "MODEL_UNUSABLE": grpc.StatusCode.FAILED_PRECONDITION,
}
RETRY_AFTER = 0.125
MODEL = v1.Model(
    name="edges2emoji",
    version="1",
    state=v1.MODEL_STATE_READY,
    input=v1.PictureSpec(height=256, width=256, channels=3),
    output=v1.PictureSpec(height=512, width=768, channels=1, multiple=256, smallest=256),
    provider="CPUExecutionProvider",
    max_batch_size=8,
    labels=["latest", "stable"],
    metadata_json=json.dumps({"format": "lapis-model/1", "data": {"licence": "CC BY-SA 4.0"}}),
)


def rich_status(reason: str, code: grpc.StatusCode, domain: str = "lapis") -> grpc.Status:
    """Builds the status as grpc's own library does, so that the client's reading of it is checked against that."""
    details: list[AnyMessage] = []
    info, retry = AnyMessage(), AnyMessage()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    details.append(info)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        retry.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(nanos=int(RETRY_AFTER * 1e9))))
        details.append(retry)
    number = code_pb2.Code.Value(code.name)
    return rpc_status.to_status(status_pb2.Status(code=number, message=f"sentence of {reason}", details=details))


class Service(TranslationServiceServicer):
    """Answers a picture with `translated ` and the picture, unless the picture is one of these orders.

    `fail REASON`: refuses with it. `fail once REASON`, then anything: refuses the first time that it sees this picture.
    `foreign`: fails with another domain's ErrorInfo. `garbled`: fails with details that are no protobuf.
    `hold`: answers when the test sets `release`. `meet`: answers when as many calls are here as `barrier` waits for.
    `break CODE`: ends the call, a stream too, with it; `break once CODE`: does so the first time that it sees this
    picture. In a stream: `leave`: ends the call as if all were well; `stray`: answers under an id that was not asked.
    """

    def __init__(self) -> None:
        self.requests: list[v1.TranslateRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.release = threading.Event()
        self.held = threading.Event()
        self.holding = threading.Semaphore(0)  # released by each picture that is held
        self.cancelled = threading.Event()
        self.barrier = threading.Barrier(1)
        self.models = [v1.Model.FromString(MODEL.SerializeToString())]
        self.streams = 0
        self.refuses = ""  # the reason for which every picture is refused
        self.trailers: tuple[tuple[str, bytes], ...] = ()
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = threading.Lock()

    def Translate(self, request: v1.TranslateRequest, context: grpc.ServicerContext) -> v1.TranslateResponse:
        self.metadata.append(dict(context.invocation_metadata()))
        context.add_callback(self.cancelled.set)
        context.set_trailing_metadata(self.trailers)
        try:
            response = self._translate(request)
            self._break(request.encoded)
        except Broken as broken:
            context.abort(broken.code, "broken")
        except Refusal as refusal:
            context.set_trailing_metadata(refusal.status.trailing_metadata)
            context.abort(refusal.status.code, refusal.status.details)
        return response

    def TranslateStream(
        self, requests: Iterator[v1.TranslateStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[v1.TranslateStreamResponse]:
        """Hands each picture to a thread of its own and yields the answers as they are ready."""
        self.metadata.append(dict(context.invocation_metadata()))
        self.streams += 1
        answers: queue.Queue[v1.TranslateStreamResponse | Broken | None] = queue.Queue()
        context.add_callback(self.cancelled.set)
        threading.Thread(target=self._take_in, args=(requests, answers), daemon=True).start()
        while (answer := answers.get()) is not None:
            if isinstance(answer, Broken):
                return None if answer.code is grpc.StatusCode.OK else context.abort(answer.code, "broken")
            yield answer

    def ListModels(self, request: v1.ListModelsRequest, context: grpc.ServicerContext) -> v1.ListModelsResponse:  # noqa: ARG002
        self.metadata.append(dict(context.invocation_metadata()))
        return v1.ListModelsResponse(models=self.models)

    def GetModel(self, request: v1.GetModelRequest, context: grpc.ServicerContext) -> v1.GetModelResponse:
        self.metadata.append(dict(context.invocation_metadata()))
        for model in self.models:
            if request.model in ("", model.name) and request.version in ("", model.version):
                return v1.GetModelResponse(model=model)
        context.abort_with_status(rich_status("MODEL_NOT_FOUND", grpc.StatusCode.NOT_FOUND))
        raise AssertionError("abort_with_status raises")

    def _take_in(
        self,
        requests: Iterator[v1.TranslateStreamRequest],
        answers: queue.Queue[v1.TranslateStreamResponse | Broken | None],
    ) -> None:
        with ThreadPoolExecutor(64) as threads, suppress(grpc.RpcError):
            for item in requests:
                threads.submit(lambda request: answers.put(self._item(request)), item.request)
        answers.put(None)

    def _item(self, request: v1.TranslateRequest) -> v1.TranslateStreamResponse | Broken:
        try:
            response = self._translate(request)
            self._break(request.encoded)
        except Broken as broken:
            return broken
        except Refusal as refusal:
            error = v1.TranslateError(code=refusal.code.value[0], reason=refusal.reason, message=refusal.status.details)
            if refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                error.retry_delay.FromNanoseconds(int(RETRY_AFTER * 1e9))
            return v1.TranslateStreamResponse(request_id=request.request_id, error=error)
        stray = request.encoded == b"stray"
        return v1.TranslateStreamResponse(request_id="astray" if stray else request.request_id, response=response)

    def _translate(self, request: v1.TranslateRequest) -> v1.TranslateResponse:
        with self._lock:
            self.requests.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.refuses:
                raise Refusal(self.refuses)
            if request.WhichOneof("picture") == "encoded":
                self._obey(request.encoded)
            return _answer(request)
        finally:
            with self._lock:
                self.in_flight -= 1

    def _break(self, picture: bytes) -> None:
        match picture.decode(errors="replace").split()[:3]:
            case ["break", "once", code] if self._is_first(picture):
                raise Broken(grpc.StatusCode[code])
            case ["break", code] if code != "once":
                raise Broken(grpc.StatusCode[code])
            case ["leave"]:
                raise Broken(grpc.StatusCode.OK)

    def _is_first(self, picture: bytes) -> bool:
        return sum(request.encoded == picture for request in self.requests) == 1

    def _obey(self, picture: bytes) -> None:
        match picture.decode(errors="replace").split()[:3]:
            case ["fail", "once", reason] if self._is_first(picture):
                raise Refusal(reason)
            case ["fail", reason] if reason != "once":
                raise Refusal(reason)
            case ["foreign"]:
                raise Refusal("MODEL_NOT_FOUND", "proxy.example", grpc.StatusCode.INTERNAL)
            case ["garbled"]:
                raise Refusal("garbled")
            case ["hold"]:
                self.held.set()
                self.holding.release()
                self.release.wait(30)
            case ["meet", *_]:
                self.barrier.wait(30)


class Repository(RepositoryServiceServicer):
    """Loads and unloads what `service` has; refuses models that are called as a reason is."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def LoadModel(self, request: LoadModelRequest, context: grpc.ServicerContext) -> Loaded:
        model = self._find(request, context)
        model.state = v1.MODEL_STATE_READY
        return Loaded(model=model)

    def UnloadModel(self, request: UnloadModelRequest, context: grpc.ServicerContext) -> Unloaded:
        model = self._find(request, context)
        model.state = v1.MODEL_STATE_UNLOADED
        return Unloaded(models=[model])

    def _find(self, request: LoadModelRequest | UnloadModelRequest, context: grpc.ServicerContext) -> v1.Model:
        self._service.metadata.append(dict(context.invocation_metadata()))
        if request.model in CODES:
            context.abort_with_status(rich_status(request.model, CODES[request.model]))
        [model] = [model for model in self._service.models if model.name == request.model]
        return model


class Broken(Exception):
    """Ends a stream."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self.code = code


class Refusal(Exception):
    """Ends a call, or is an item of a stream."""

    def __init__(self, reason: str, domain: str = "lapis", code: grpc.StatusCode | None = None) -> None:
        self.reason = reason
        self.code = code or CODES.get(reason, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.status = rich_status(reason, self.code, domain)
        if reason == "garbled":
            self.status = Garbled(grpc.StatusCode.INTERNAL, "sentence of the server", GARBLED)


class Garbled(NamedTuple):
    """A status with details that are no protobuf."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


GARBLED = (("grpc-status-details-bin", b"\xff\xff\xff"),)


def _answer(request: v1.TranslateRequest) -> v1.TranslateResponse:
    response = v1.TranslateResponse(
        request_id=request.request_id,
        format=request.output.format,
        height=2,
        width=3,
        channels=1,
        model=request.model or "edges2emoji",
        version=request.version or "1",
        timings=v1.Timings(
            decode=Duration(nanos=1_000_000),
            queue=Duration(nanos=2_000_000),
            infer=Duration(seconds=1),
            encode=Duration(nanos=4_000_000),
            batch_size=5,
        ),
    )
    if request.HasField("seed"):
        response.seed = request.seed
    if request.output.format == v1.PICTURE_FORMAT_RAW:
        response.tensor.CopyFrom(v1.Tensor(data=b"abcdef", height=2, width=3, channels=1))
        if request.tensor.sample_type == v1.SAMPLE_TYPE_UINT16:
            response.tensor.data = b"a\0b\0c\0d\0e\0f\1"
            response.tensor.sample_type = v1.SAMPLE_TYPE_UINT16
    else:
        response.encoded = b"translated " + request.encoded
    return response


class Server:
    """The service behind a port of its own, unless an address is given; no health checks where `healthy` is None."""

    def __init__(
        self, address: str = "127.0.0.1:0", *, healthy: bool | None = True, tls: grpc.ServerCredentials | None = None
    ) -> None:
        self.service = Service()
        self._grpc = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", 2**25)])
        add_TranslationServiceServicer_to_server(self.service, self._grpc)
        add_RepositoryServiceServicer_to_server(Repository(self.service), self._grpc)
        if healthy is not None:
            self.health = HealthServicer()
            self.set_health(healthy=healthy)
            add_HealthServicer_to_server(self.health, self._grpc)
        port = self._grpc.add_secure_port(address, tls) if tls else self._grpc.add_insecure_port(address)
        self.address = f"127.0.0.1:{port}"
        self._grpc.start()

    def set_health(self, *, healthy: bool) -> None:
        for name in ("", MODEL.name):
            self.health.set(name, SERVING if healthy else NOT_SERVING)

    def stop(self) -> None:
        stopped = self._grpc.stop(grace=None)
        self.service.release.set()
        stopped.wait()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers, wherever and however a test wants them."""
    servers: list[Server] = []

    def start(*arguments: Any, **options: Any) -> Server:  # noqa: ANN401
        servers.append(Server(*arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def closed_address() -> str:
    """An address at which nothing listens any more."""
    server = Server()
    server.stop()
    return server.address


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Runs `lapis-translate` against the server, in a folder of its own, with no settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LAPIS_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str, server: str = server.address) -> Ended:
        monkeypatch.setattr(sys, "argv", ["lapis-translate", *arguments, "--server", server])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(str(ended.value.code)), *capfd.readouterr())

    return run
