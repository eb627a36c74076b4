"""What the tests of the edges ask of errors."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status
from lapis.v1 import repository_pb2_grpc, translation_pb2_grpc
from lapis.v1 import translation_pb2 as pb

from service.edge.grpc_server import GrpcServer
from service.engine.contract import PictureShape
from service.models.registry import LoadedModel, Registry
from service.models.repository import ModelFile
from service.settings import ServeSettings
from service.telemetry.metrics import Metrics
from service.translator import Order, Timings, Translation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from google.protobuf.message import Message

    from service.edge.repository import Life
    from service.models.registry import ModelVersion


class Reason(Protocol):
    def __call__(self, error: grpc.aio.AioRpcError) -> str: ...


class Details(Protocol):
    def __call__(self, error: grpc.aio.AioRpcError, kind: type[Message]) -> Message: ...


@pytest.fixture(scope="session")
def details() -> Details:
    """Finds the details of a kind in an error."""

    def find(error: grpc.aio.AioRpcError, kind: type[Message]) -> Message:
        message = kind()
        status = rpc_status.from_call(error)
        assert status is not None
        assert any(detail.Unpack(message) for detail in status.details)
        return message

    return find


@pytest.fixture(scope="session")
def reason(details: Details) -> Reason:
    """Reads the reason out of an error that carries one of ours."""

    def read(error: grpc.aio.AioRpcError) -> str:
        info = details(error, error_details_pb2.ErrorInfo)
        assert info.domain == "lapis"
        return str(info.reason)

    return read


TIMINGS = Timings(decode=0.001, queue=0.002, infer=0.003, encode=0.004, batch_size=5)


class Script:
    """A translator that does as it is told: a picture is answered backwards, and one that is held when it is let go."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.left: list[bytes] = []
        self._held: dict[bytes, asyncio.Event] = {}
        self._errors: dict[bytes, Exception] = {}

    def hold(self, *pictures: bytes) -> None:
        self._held |= {picture: asyncio.Event() for picture in pictures}

    def let_go(self, *pictures: bytes) -> None:
        for picture in pictures:
            self._held[picture].set()

    def fail(self, picture: bytes, error: Exception) -> None:
        self._errors[picture] = error

    async def translate(self, model: ModelVersion, order: Order) -> Translation:
        model.serving()
        assert isinstance(order.picture, bytes)
        self.orders.append(order)
        try:
            if held := self._held.get(order.picture):
                await held.wait()
        finally:
            self.left.append(order.picture)
        if error := self._errors.get(order.picture):
            raise error
        return Translation(order.picture[::-1], 1, 2, 3, TIMINGS, cached=order.picture == b"known", tiles=4)


class Edge:
    """A server at the edge of nothing but a script, and a client of it."""

    def __init__(self, server: GrpcServer, registry: Registry, script: Script, metrics: Metrics, port: int) -> None:
        self.server = server
        self.registry = registry
        self.script = script
        self.metrics = metrics
        self.port = port
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.stub: Any = translation_pb2_grpc.TranslationServiceStub(self.channel)
        self.control: Any = repository_pb2_grpc.RepositoryServiceStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    def translate(self, picture: bytes, **fields: object) -> grpc.aio.UnaryUnaryCall[Any, Any]:
        return self.stub.Translate(pb.TranslateRequest(encoded=picture, **fields))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 (what is waited for comes about in gRPC's threads)
                await asyncio.sleep(0)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


class Edged(Protocol):
    def __call__(
        self, life: Life | None = None, port: int = 0, *, reuse_port: bool = False, **settings: object
    ) -> AbstractAsyncContextManager[Edge]: ...


@pytest.fixture
def edged() -> Edged:
    """Runs a server whose model `m`, version 1, does what a script says."""

    @asynccontextmanager
    async def run(
        life: Life | None = None, port: int = 0, *, reuse_port: bool = False, **given: object
    ) -> AsyncIterator[Edge]:
        settings = ServeSettings(**given)
        registry = Registry([ModelFile("m", 1, Path("m/1/model.onnx"))])
        registry.models[0].become_ready(loaded())
        script, metrics = Script(), Metrics()
        metrics.model("m", 1)
        server = GrpcServer(registry, script, metrics, settings, life or NoLife())
        bound = await server.start("127.0.0.1", port, reuse_port=reuse_port)
        edge = Edge(server, registry, script, metrics, bound)
        try:
            async with edge.channel:
                yield edge
        finally:
            await server.stop(0)

    return run


def loaded() -> LoadedModel:
    shape = PictureShape(8, 8, 3)
    engine: Any = SimpleNamespace(
        input=shape, output=shape, provider="SomeProvider", metadata_json="{}", takes_seed=False
    )
    admission: Any = SimpleNamespace(requests=0, bytes=0)
    return LoadedModel(engine, SimpleNamespace(depth=0), admission, 1)


class NoLife:
    """Knows no model to load."""

    async def load(self, name: str, version: str) -> ModelVersion:
        raise AssertionError(name, version)

    async def unload(self, name: str, version: str) -> list[ModelVersion]:
        raise AssertionError(name, version)
