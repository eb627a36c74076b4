"""A real gRPC server whose behaviour a test chooses by the picture that it sends."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from lapis.v1 import translation_pb2 as v1
from lapis.v1.translation_pb2_grpc import TranslationServiceServicer, add_TranslationServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What service/ answers with; QUEUE_FULL comes with a RetryInfo.
CODES = {
    "INVALID_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_PICTURE": grpc.StatusCode.INVALID_ARGUMENT,
    "PICTURE_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "MODEL_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "NOT_READY": grpc.StatusCode.UNAVAILABLE,
    "QUEUE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "INFERENCE_FAILED": grpc.StatusCode.INTERNAL,
}
RETRY_AFTER = 0.125
MODEL = v1.Model(
    name="edges2emoji",
    version="1",
    state=v1.MODEL_STATE_READY,
    input=v1.PictureSpec(height=256, width=256, channels=3),
    output=v1.PictureSpec(height=-1, width=-1, channels=1),
    provider="CPUExecutionProvider",
    max_batch_size=8,
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
    """

    def __init__(self) -> None:
        self.requests: list[v1.TranslateRequest] = []
        self.release = threading.Event()
        self.held = threading.Event()
        self.cancelled = threading.Event()
        self.barrier = threading.Barrier(1)
        self.models = [MODEL]
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = threading.Lock()

    def Translate(self, request: v1.TranslateRequest, context: grpc.ServicerContext) -> v1.TranslateResponse:
        with self._lock:
            self.requests.append(request)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if request.WhichOneof("picture") == "encoded":
                self._obey(request.encoded, context)
            return _answer(request)
        finally:
            with self._lock:
                self.in_flight -= 1

    def ListModels(self, request: v1.ListModelsRequest, context: object) -> v1.ListModelsResponse:  # noqa: ARG002
        return v1.ListModelsResponse(models=self.models)

    def GetModel(self, request: v1.GetModelRequest, context: grpc.ServicerContext) -> v1.GetModelResponse:
        for model in self.models:
            if request.model in ("", model.name) and request.version in ("", model.version):
                return v1.GetModelResponse(model=model)
        return _refuse(context, "MODEL_NOT_FOUND")

    def _obey(self, picture: bytes, context: grpc.ServicerContext) -> None:
        match picture.split()[:3]:
            case [b"fail", b"once", reason]:
                if sum(request.encoded == picture for request in self.requests) == 1:
                    _refuse(context, reason.decode())
            case [b"fail", reason]:
                _refuse(context, reason.decode())
            case [b"foreign"]:
                context.abort_with_status(rich_status("MODEL_NOT_FOUND", grpc.StatusCode.INTERNAL, "proxy.example"))
            case [b"garbled"]:
                context.set_trailing_metadata([("grpc-status-details-bin", b"\xff\xff\xff")])
                context.abort(grpc.StatusCode.INTERNAL, "sentence of the server")
            case [b"hold"]:
                context.add_callback(self.cancelled.set)
                self.held.set()
                self.release.wait(30)
            case [b"meet", *_]:
                self.barrier.wait(30)


def _refuse(context: grpc.ServicerContext, reason: str) -> NoReturn:
    context.abort_with_status(rich_status(reason, CODES.get(reason, grpc.StatusCode.RESOURCE_EXHAUSTED)))
    raise AssertionError("abort_with_status raises")


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
    if request.output.format == v1.PICTURE_FORMAT_RAW:
        response.tensor.CopyFrom(v1.Tensor(data=b"abcdef", height=2, width=3, channels=1))
    else:
        response.encoded = b"translated " + request.encoded
    return response


class Server:
    """The service behind a port of its own, unless an address is given."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.service = Service()
        self._grpc = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", 2**25)])
        add_TranslationServiceServicer_to_server(self.service, self._grpc)
        self.address = f"127.0.0.1:{self._grpc.add_insecure_port(address)}"
        self._grpc.start()

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
def serve() -> Iterator[Callable[[str], Server]]:
    """Starts a server at an address, later than its callers."""
    servers: list[Server] = []

    def start(address: str) -> Server:
        servers.append(Server(address))
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
