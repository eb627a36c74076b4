"""Engines of small models, on the lanes that a test asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.placement import Lane, Placement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.conftest import WriteModel

Pixels = NDArray[np.uint8]

SHAPE = ("N", 8, 8, 3)


class Make(Protocol):
    def __call__(self, kind: str = ..., *, lanes: int = ..., threads: int = ..., **options: Any) -> Engine: ...  # noqa: ANN401


def grey(level: int) -> Pixels:
    return np.full((8, 8, 3), level, np.uint8)


def on_cpu(lanes: int = 1, threads: int = 1) -> Placement:
    return Placement((Lane("cpu", threads),) * lanes, on_gpu=False)


@pytest.fixture
def make(tmp_path: Path, write_model: WriteModel) -> Iterator[Make]:
    """Makes an engine of a small model on the CPU."""
    engines: list[Engine] = []

    def make(kind: str = "invert", *, lanes: int = 1, threads: int = 1, **options: Any) -> Engine:  # noqa: ANN401
        metadata = options.pop("metadata", None)
        path = write_model(tmp_path / f"{kind}.onnx", kind, metadata=metadata)
        engines.append(Engine(path, on_cpu(lanes, threads), EngineOptions(**options)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(scope="session")
def dice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that translates into noise, another each time."""
    path = tmp_path_factory.mktemp("dice") / "model.onnx"
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("RandomUniformLike", ["pixels"], ["noise"], high=255.0),
        helper.make_node("Cast", ["noise"], ["translation"], to=TensorProto.UINT8),
    ]
    given, made = (helper.make_tensor_value_info(name, TensorProto.UINT8, SHAPE) for name in ("image", "translation"))
    graph = helper.make_graph(nodes, "dice", [given], [made])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path
