"""How the weights are stored, and in what the graph computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper, numpy_helper

from export.precision import half

if TYPE_CHECKING:
    from export.metadata import Precision


def store(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Returns the model at a precision that needs no pictures: "fp32", "fp16-weights" or "fp16".

    With "fp16-weights" the arithmetic stays fp32, with "fp16" it is done in halves. Raises OptionError where a weight
    is too large for a half.
    """
    if precision == "fp16":
        return half.halve(model)
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
        weight.CopyFrom(
            numpy_helper.from_array(half.rounded(name, numpy_helper.to_array(weight), "fp16-weights"), f"{name}.fp16")
        )
        casts.append(helper.make_node("Cast", [weight.name], [name], f"{name}.fp32", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
