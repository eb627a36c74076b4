"""Small real models, and real servers over them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import grpc
import httpx
import numpy as np
import onnx
import pytest
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc
from onnx import TensorProto, helper, numpy_helper

from service.engine.batch import Prepared, Runs
from service.engine.bound import BoundRuns
from service.engine.unbound import UnboundRuns
from service.server import Server
from service.settings import ServeSettings
from tests.service.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from numpy.typing import NDArray

    from service.models.registry import LoadedModel

    Pixels = NDArray[np.uint8]

SIDE = 8
FORBIDDEN = 255
# Rounds of the slow model per level of its brightest pixel; about a second at 100 levels.
ROUNDS = 12
# A process that says nothing for so many seconds hangs.
HANGS = 60.0


class WriteModel(Protocol):
    def __call__(
        self,
        path: Path,
        kind: str = "invert",
        *,
        input_shape: tuple[int | str, ...] = ("N", SIDE, SIDE, 3),
        metadata: Mapping[str, Any] | str | None = None,
        element: int = TensorProto.UINT8,
        **names: str,
    ) -> Path: ...


class Gate:
    """Holds the engine's threads; `reached` says how many pictures came to it, run by run."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.reached: list[int] = []
        self._opened.set()

    def close(self) -> None:
        self._opened.clear()
        self.reached.clear()

    def open(self) -> None:
        self._opened.set()

    def before(self, run: Callable[[Any, Prepared], list[Pixels]]) -> Callable[[Runs, Prepared], list[Pixels]]:
        """Puts the gate before a run."""

        def gated(runs: Runs, prepared: Prepared) -> list[Pixels]:
            self.reached.append(prepared.rows)
            self._opened.wait()
            return run(runs, prepared)

        return gated


class Service:
    """A running server and a client of it."""

    def __init__(self, server: Server, channel: grpc.aio.Channel, stop: asyncio.Event) -> None:
        self.server = server
        self.stop = stop
        self.channel = channel
        self.stub: pb_grpc.TranslationServiceAsyncStub = pb_grpc.TranslationServiceStub(channel)

    @property
    def model(self) -> LoadedModel:
        return self.server.registry.models[0].serving()

    def translate(self, encoded: bytes, **fields: object) -> grpc.aio.UnaryUnaryCall[Any, pb.TranslateResponse]:
        return self.stub.Translate(pb.TranslateRequest(encoded=encoded, **fields))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 (what is waited for may come about in any thread)
            await asyncio.sleep(0)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{self.server.http_port}{path}", headers=headers)


class Process:
    """A running `lapis-serve`, read through its log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.lines: list[str] = []

    async def event(self, name: str, **fields: object) -> dict[str, Any]:
        """Reads on to the event of a name, with these fields; every line before it must be a log line, too."""
        assert self._process.stderr
        while line := await asyncio.wait_for(self._process.stderr.readline(), HANGS):
            self.lines.append(line.decode().rstrip("\n"))
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name and fields.items() <= event.items():
                return event
        raise AssertionError(f"no {name!r} in {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> int:
        assert self._process.stderr
        self.lines += (await asyncio.wait_for(self._process.stderr.read(), HANGS)).decode().splitlines()
        return await self._process.wait()


class LapisServe(Protocol):
    def __call__(self, *flags: object) -> AbstractAsyncContextManager[Process]: ...


class Serving(Protocol):
    def __call__(
        self, models: Mapping[str, str], *, wait: bool = True, **settings: object
    ) -> AbstractAsyncContextManager[Service]: ...


class Repository(Protocol):
    def __call__(self, models: Mapping[str, str]) -> Path: ...


class Png(Protocol):
    def __call__(self, level: int, height: int = SIDE, width: int = SIDE) -> bytes: ...


@pytest.fixture(scope="session")
def write_model() -> WriteModel:
    """Writes a model: identity, invert, picky (fails on pixels of 255), broken (on all) or slow (when bright).

    And soften, whose pixels see their neighbours, at half the size and back; tint, which adds a row's seed to it; and
    stuck, which works at 8 x 8 alone, whatever it says.
    """

    def write(
        path: Path,
        kind: str = "invert",
        *,
        input_shape: tuple[int | str, ...] = ("N", SIDE, SIDE, 3),
        metadata: Mapping[str, Any] | str | None = None,
        image: str = "image",
        translation: str = "translation",
        element: int = TensorProto.UINT8,
    ) -> Path:
        nodes, weights = _KINDS[kind](image, translation)
        shapes = [helper.make_tensor_value_info(name, element, input_shape) for name in (image, translation)]
        seeds = [helper.make_tensor_value_info("seed", TensorProto.INT64, ["N"])] * (kind == "tint")
        graph = helper.make_graph(nodes, kind, shapes[:1] + seeds, shapes[1:], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        if metadata is not None:
            text = metadata if isinstance(metadata, str) else json.dumps(metadata)
            helper.set_model_props(model, {"lapis": text})
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        return path

    return write


def _identity(image: str, translation: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return [helper.make_node("Identity", [image], [translation])], []


def _invert(image: str, translation: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return [helper.make_node("BitwiseNot", [image], [translation])], []


def _picky(image: str, translation: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    table = numpy_helper.from_array(np.arange(FORBIDDEN, dtype=np.uint8), "table")
    look_up = [
        helper.make_node("Cast", [image], ["positions"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "positions"], [translation]),
    ]
    return look_up, [table]


def _broken(image: str, translation: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Look every pixel up beyond the end of the table."""
    look_up, (table,) = _picky("beyond", translation)
    beyond = helper.make_node("BitwiseOr", [image, "last"], ["beyond"])
    return [beyond, *look_up], [table, numpy_helper.from_array(np.array(FORBIDDEN, np.uint8), "last")]


def _slow(image: str, translation: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Multiply matrices, the more rounds the brighter the brightest pixel, then invert."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "matrix"], ["product"]),
            helper.make_node("Identity", ["more"], ["again"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [512, 512]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("product", TensorProto.FLOAT, [512, 512]),
        ],
    )
    nodes = [
        helper.make_node("Cast", [image], ["levels"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["levels"], ["brightest"], keepdims=0),
        helper.make_node("Mul", ["brightest", "rounds"], ["trips"]),
        helper.make_node("Loop", ["trips", "", "matrix"], ["worked"], body=body),
        helper.make_node("ReduceSum", ["worked"], ["sum"], keepdims=0),
        helper.make_node("IsNaN", ["sum"], ["failed"]),
        helper.make_node("BitwiseNot", [image], ["inverted"]),
        helper.make_node("Where", ["failed", image, "inverted"], [translation]),
    ]
    matrix = numpy_helper.from_array(np.eye(512, dtype=np.float32), "matrix")
    return nodes, [matrix, numpy_helper.from_array(np.array(ROUNDS, dtype=np.int64), "rounds")]


def _soften(image: str, translation: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Convolve down to half the size and back, as a network does that takes multiples of 2."""
    kernel = np.zeros((3, 3, 4, 4), np.float32)
    kernel[range(3), range(3)] = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    nodes = [
        helper.make_node("Cast", [image], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["half"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["half", "kernel"], ["full"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["full"], ["pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Round", ["pixels"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], [translation], to=TensorProto.UINT8),
    ]
    return nodes, [numpy_helper.from_array(kernel, "kernel")]


def _tint(image: str, translation: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes = [
        helper.make_node("Unsqueeze", ["seed", "axes"], ["seeds"]),
        helper.make_node("Cast", [image], ["levels"], to=TensorProto.INT64),
        helper.make_node("Add", ["levels", "seeds"], ["sum"]),
        helper.make_node("Mod", ["sum", "range"], ["rest"]),
        helper.make_node("CastLike", ["rest", image], [translation]),
    ]
    axes, range_ = np.array([1, 2, 3], np.int64), np.array(256, np.int64)
    return nodes, [numpy_helper.from_array(axes, "axes"), numpy_helper.from_array(range_, "range")]


def _stuck(image: str, translation: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Multiply all values of a picture with a square matrix, as a network with a fully connected layer does."""
    flat, matrix = np.array([0, -1], np.int64), np.eye(SIDE * SIDE * 3, dtype=np.float32)
    nodes = [
        helper.make_node("Shape", [image], ["shape"]),
        helper.make_node("Cast", [image], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["levels", "flat"], ["values"]),
        helper.make_node("MatMul", ["values", "matrix"], ["same"]),
        helper.make_node("Reshape", ["same", "shape"], ["picture"]),
        helper.make_node("Cast", ["picture"], [translation], to=TensorProto.UINT8),
    ]
    return nodes, [numpy_helper.from_array(flat, "flat"), numpy_helper.from_array(matrix, "matrix")]


_KINDS = {
    "identity": _identity,
    "invert": _invert,
    "picky": _picky,
    "broken": _broken,
    "slow": _slow,
    "soften": _soften,
    "tint": _tint,
    "stuck": _stuck,
}
FREE = ("N", "H", "W", 3)


def described(
    height: int = SIDE, width: int = SIDE, channels: int = 3, *, noise: str = "off", **side: object
) -> dict[str, object]:
    """Returns what export writes of a model whose answers are as large as its pictures."""
    shape = {"height": height, "width": width, "channels": channels, **side}
    return {"format": "lapis-model/1", "input": shape, "output": shape, "noise": noise}


@pytest.fixture
def repository(tmp_path: Path, write_model: WriteModel) -> Repository:
    """Makes a model repository of `{"NAME/VERSION": kind}`."""

    def make(models: Mapping[str, str]) -> Path:
        root = tmp_path / "models"
        root.mkdir()
        for place, kind in models.items():
            write_model(root / place / "model.onnx", kind)
        return root

    return make


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Founds an authority."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def serving(repository: Repository) -> Serving:
    """Runs a server, ready unless not waited for, on free ports and one run at a time on the CPU."""
    small = {"port": 0, "http_port": 0, "devices": "cpu", "instances": 1, "codec_threads": 1, "repository_poll": 0}

    @asynccontextmanager
    async def serve(models: Mapping[str, str], *, wait: bool = True, **settings: object) -> AsyncIterator[Service]:
        server = Server(ServeSettings(models=repository(models), **{**small, **settings}))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.run(stop))
            await (server.ready if wait else server.listening).wait()
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
                    yield Service(server, channel, stop)
            finally:
                stop.set()

    return serve


@pytest.fixture(scope="session")
def lapis_serve() -> LapisServe:
    """Runs the command, on free ports and one run at a time on the CPU, while the block runs."""

    @asynccontextmanager
    async def start(*flags: object) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("lapis-serve"),
            *("--port", "0", "--http-port", "0", "--devices", "cpu", "--instances", "1"),
            *map(str, flags),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("LAPIS_")},
        )
        try:
            yield Process(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return start


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Makes every run of an engine wait until the gate is opened; it is open at first."""
    gate = Gate()
    for way in (UnboundRuns, BoundRuns):
        monkeypatch.setattr(way, "run", gate.before(way.run))
    yield gate
    gate.open()


@pytest.fixture(scope="session")
def png() -> Png:
    """Makes a PNG of one grey level all over, at the models' size unless told otherwise."""

    def make(level: int, height: int = SIDE, width: int = SIDE) -> bytes:
        return cv2.imencode(".png", np.full((height, width, 3), level, np.uint8))[1].tobytes()

    return make
