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
    session = _session(model, names)
    lows, highs = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for row in range(len(pictures)):
        extremes = np.array(session.run(None, _feed(session, pictures, seeds, row))).reshape(2, -1)
        lows, highs = np.minimum(lows, extremes[0]), np.maximum(highs, extremes[1])
    return {name: Range(float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)}


def _session(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """Returns the graph with the extremes of these values as its outputs: first the least, then the largest."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    for kind in ("ReduceMin", "ReduceMax"):
        for number, name in enumerate(names):
            output = f"{kind}.{number}"
            probed.graph.node.append(helper.make_node(kind, [name], [output], keepdims=0))
            probed.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    return onnxruntime.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _feed(
    session: onnxruntime.InferenceSession, pictures: NDArray[Any], seeds: NDArray[np.int64] | None, row: int
) -> dict[str, NDArray[Any]]:
    image, *seed = [value.name for value in session.get_inputs()]
    drawn = np.arange(len(pictures), dtype=np.int64) if seeds is None else seeds
    return {image: pictures[row : row + 1], **dict.fromkeys(seed, drawn[row : row + 1])}
