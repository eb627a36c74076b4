"""A half graph for GPUs: convolutions and what lies between them in fp16, everything else as it was.

Norms, tanh, the scaling of samples, Lab and the arithmetic of seeds stay in the types they had. Casts stand only where
the graph crosses from one to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from export.errors import OptionError
from export.precision.ranges import measure
from export.precision.wiring import MOVES, Wiring, is_float, made, numbers, rewire, takers

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float16).max)
LAYERS = {"Conv", "ConvTranspose"}
BETWEEN = MOVES | {"Relu", "LeakyRelu", "Concat", "Add", "Mul", "Where"}


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model as a half graph; inputs and outputs keep their types.

    Raises OptionError where a weight is too large for a half.
    """
    wiring = Wiring(model)
    chosen = _chosen(wiring)
    inside: set[ir.Node | None] = set(chosen)
    for node in chosen:
        for value in dict.fromkeys(node.inputs):
            if is_float(value) and value.producer() not in inside:
                rewire(value, node, _as_half(wiring, value))
    for node in chosen:
        _back(wiring, made(node), chosen)
    for node in chosen:
        made(node).type = ir.TensorType(ir.DataType.FLOAT16)
    return wiring.finish()


def check_halves(model: onnx.ModelProto, pictures: NDArray[Any], seeds: NDArray[np.int64] | None = None) -> None:
    """Raises OptionError where a value inside the fp32 `model`, on one of the pictures, leaves the range of a half.

    `pictures` are uint8 or uint16 [n, H, W, C]; `seeds`, int64 [n], go with a model that takes them.
    """
    names = [made(node).name or "" for node in _chosen(Wiring(model))]
    for name, (low, high) in measure(model, names, pictures, seeds).items():
        # The sums of a convolution are rounded on their way: what comes this near may leave the range elsewhere.
        if max(-low, high) > LARGEST / 2:
            raise OptionError(
                f"--precision fp16: {name} reaches {max(-low, high):g} on these pictures, near to or beyond a half's "
                "65504; use fp16-weights or fp32"
            )


def rounded(name: str, values: NDArray[Any], precision: str = "fp16") -> NDArray[np.float16]:
    """Returns the weights as halves; raises OptionError, with the weight's name, where one is too large."""
    largest = float(np.abs(values).max(initial=0))
    if largest > LARGEST:
        raise OptionError(f"--precision {precision}: {name} holds {largest:g}, beyond a half's 65504; use fp32")
    return values.astype(np.float16)


def _chosen(wiring: Wiring) -> dict[ir.Node, None]:
    """Returns the convolutions, and the nodes that lie between one and another, or between one and a norm."""
    between = {node for node in wiring.nodes(*BETWEEN) if is_float(made(node)) and not _scales(node)}
    found: dict[ir.Node, None] = dict.fromkeys(wiring.nodes(*LAYERS))
    ahead, behind = list(found), list(found)
    while ahead:
        reached = [node for value in ahead.pop().outputs for node in takers(value) if node in between]
        ahead += [node for node in reached if node not in found]
        found.update(dict.fromkeys(reached))
    while behind:
        makers = [value.producer() for value in behind.pop().inputs if is_float(value)]
        reached = [node for node in makers if node in between]
        behind += [node for node in reached if node not in found]
        found.update(dict.fromkeys(reached))
    return {node: None for node in wiring.graph if node in found}


def _scales(node: ir.Node) -> bool:
    """Tells whether the node only adds or multiplies a constant: the scaling of samples."""
    return node.op_type in {"Add", "Mul"} and any(numbers(value) is not None for value in node.inputs)


def _as_half(wiring: Wiring, value: ir.Value) -> ir.Value:
    held = numbers(value)
    name = f"{value.name}.fp16"
    if held is not None:
        return wiring.graph.initializers.get(name) or wiring.constant(name, rounded(value.name or "", held))
    for node in takers(value):
        if node.op_type == "Cast" and made(node).dtype == ir.DataType.FLOAT16:
            return made(node)
    return _typed(wiring.add("Cast", [value], name, to=ir.DataType.FLOAT16), ir.DataType.FLOAT16)


def _back(wiring: Wiring, value: ir.Value, chosen: dict[ir.Node, None]) -> None:
    """Gives fp32 to those who took the value and are no half nodes."""
    outside = [node for node in takers(value) if node not in chosen and node.op_type != "Shape"]
    if outside:
        whole = _typed(wiring.add("Cast", [value], f"{value.name}.fp32", to=ir.DataType.FLOAT), ir.DataType.FLOAT)
        for node in outside:
            rewire(value, node, whole)


def _typed(value: ir.Value, kind: ir.DataType) -> ir.Value:
    value.type = ir.TensorType(kind)
    return value
