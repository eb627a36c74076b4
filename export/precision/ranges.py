"""What values a graph takes inside, measured on pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FATAL = 4


class Range(NamedTuple):
    """The smallest and the largest value of a tensor."""

    low: float
    high: float


def measure(
    model: onnx.ModelProto, names: Sequence[str], pictures: NDArray[Any], seeds: NDArray[np.int64] | None = None
) -> dict[str, Range]:
    """Returns the range of each of the graph's fp32 values over all pictures [n, H, W, C].

    One picture is run at a time and only the extremes leave the graph, so memory does not grow with the pictures.
    """
    probes = [helper.make_node("ReduceMin", [name], [f"least.{i}"], keepdims=0) for i, name in enumerate(names)]
    probes += [helper.make_node("ReduceMax", [name], [f"most.{i}"], keepdims=0) for i, name in enumerate(names)]
    lows, highs = _extremes(model, probes, len(names), pictures, seeds)
    return {name: Range(float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)}


def measure_channels(
    model: onnx.ModelProto, names: Sequence[str], pictures: NDArray[Any], seeds: NDArray[np.int64] | None = None
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Returns the least and the largest values, [C] each, of the graph's fp32 maps [N, C, H, W] over all pictures."""
    probes = [helper.make_node("Neg", [name], [f"less.{i}"]) for i, name in enumerate(names)]
    probes += [helper.make_node("GlobalMaxPool", [f"less.{i}"], [f"least.{i}"]) for i in range(len(names))]
    probes += [helper.make_node("GlobalMaxPool", [name], [f"most.{i}"]) for i, name in enumerate(names)]
    least, most = _extremes(model, probes, len(names), pictures, seeds)
    return [(-low.ravel(), high.ravel()) for low, high in zip(least, most, strict=True)]


def _extremes(
    model: onnx.ModelProto,
    probes: Sequence[onnx.NodeProto],
    count: int,
    pictures: NDArray[Any],
    seeds: NDArray[np.int64] | None,
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Returns what the probes least.0, … and most.0, … come to; where values are negated, `least` is a most."""
    if not probes:
        return [], []
    session = _session(model, probes)
    wanted = [f"{kind}.{i}" for kind in ("least", "most") for i in range(count)]
    negated = probes[0].op_type == "Neg"
    found: list[NDArray[np.float64]] = []
    for row in range(len(pictures)):
        values = [np.asarray(value, np.float64) for value in session.run(wanted, _feed(session, pictures, seeds, row))]
        low = np.maximum if negated else np.minimum
        extend = [low] * count + [np.maximum] * count
        found = [join(a, b) for join, a, b in zip(extend, found or values, values, strict=True)]
    return found[:count], found[count:]


def _session(model: onnx.ModelProto, probes: Sequence[onnx.NodeProto]) -> onnxruntime.InferenceSession:
    """Returns a session that gives what the probes called least and most give, and nothing else."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.node.extend(probes)
    outputs = [name for node in probes for name in node.output if name.startswith(("least.", "most."))]
    probed.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    return onnxruntime.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _feed(
    session: onnxruntime.InferenceSession, pictures: NDArray[Any], seeds: NDArray[np.int64] | None, row: int
) -> dict[str, NDArray[Any]]:
    image, *seed = [value.name for value in session.get_inputs()]
    drawn = np.arange(len(pictures), dtype=np.int64) if seeds is None else seeds
    return {image: pictures[row : row + 1], **dict.fromkeys(seed, drawn[row : row + 1])}
