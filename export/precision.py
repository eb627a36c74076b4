"""How the weights are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.metadata import Precision


class Bounds(NamedTuple):
    """The largest and the mean difference from PyTorch's fp32 to accept, in levels of 255."""

    largest: float
    mean: float


# fp32 differs only where a value falls on the edge between two levels; a mean beyond that would be a rounding mistake.
BOUNDS: dict[Precision, Bounds] = {"fp32": Bounds(1, 0.02), "fp16-weights": Bounds(4, 0.1)}


def bounds(precision: Precision, largest: float | None) -> Bounds:
    """Returns the precision's bounds, the largest difference replaced where one is given."""
    return BOUNDS[precision] if largest is None else BOUNDS[precision]._replace(largest=largest)


def store(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Returns the model with its weights stored at `precision`; the arithmetic stays fp32.

    Raises OptionError where a weight is too large for a half.
    """
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    if precision == "fp16-weights":
        _halve_kernels(stored.graph)
    return stored


def _halve_kernels(graph: onnx.GraphProto) -> None:
    """Stores kernels as halves behind a cast, which ONNX Runtime folds away when it loads the file.

    Scales and biases are too few to matter and stay as they are.
    """
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(_half(name, numpy_helper.to_array(weight)), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], f"{name}.fp32", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _half(name: str, values: NDArray[Any]) -> NDArray[Any]:
    largest = float(np.abs(values).max())
    if largest > float(np.finfo(np.float16).max):
        raise OptionError(f"--precision fp16-weights: {name} holds {largest:g}, beyond a half's 65504; use fp32")
    return values.astype(np.float16)
