"""Changes that leave what the graph computes as it is, so that integers can carry it.

The skip of a U-Net is taken once through a leaky ReLU and once through a ReLU; the ReLU of the leaky one is the same,
so one tensor serves both. A ReLU after moves is a ReLU before them, next to its convolution, where it costs nothing.
tanh and the scaling to levels are one sigmoid: 127.5 tanh(x) + 127.5 = 255 sigmoid(2x).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx_ir as ir

from export.precision.wiring import MOVES, Wiring, given, made, maker, numbers, rewire, scalar, takers

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS: dict[str, Callable[[float, float, float], tuple[float, float]]] = {
    "Add": lambda scale, shift, by: (scale, shift + by),
    "Sub": lambda scale, shift, by: (scale, shift - by),
    "Mul": lambda scale, shift, by: (scale * by, shift * by),
    "Div": lambda scale, shift, by: (scale / by, shift / by),
}


class Levels(NamedTuple):
    """fp32 values that are `scale` times a uint8 value, plus `shift`."""

    samples: ir.Value
    scale: float
    shift: float


def simplify(wiring: Wiring) -> None:
    """Changes the graph, and nothing in what it computes but the rounding of its sums."""
    _share_skips(wiring)
    _lift_relus(wiring)
    _end_in_sigmoid(wiring)


def levels_of(value: ir.Value) -> Levels | None:
    """Returns the uint8 samples that a value is an affine function of, or None where it is none."""
    steps = []
    node = value.producer()
    while node is not None and node.op_type in _STEPS and (by := scalar(node.inputs[1])) is not None:
        steps.append((node.op_type, by))
        node = given(node).producer()
    if node is None or node.op_type != "Cast" or given(node).dtype != ir.DataType.UINT8:
        return None
    scale, shift = 1.0, 0.0
    for kind, by in reversed(steps):
        scale, shift = _STEPS[kind](scale, shift, by)
    return Levels(given(node), scale, shift)


def root(value: ir.Value) -> ir.Value:
    """Returns the value that moves alone lie behind."""
    while maker(value) in MOVES:
        value = given(value.producer())  # type: ignore[arg-type]
    return value


def _share_skips(wiring: Wiring) -> None:
    for concat in wiring.nodes("Concat"):
        if not (takers(made(concat)) and all(node.op_type == "Relu" for node in takers(made(concat)))):
            continue
        for value in dict.fromkeys(concat.inputs):
            assert value is not None  # noqa: S101 (a Concat has no optional inputs)
            leaky = [node for node in takers(value) if node.op_type == "LeakyRelu" and _alpha(node) >= 0]
            # The ReLU behind the concatenation stays: of what was a ReLU already it takes nothing away.
            rewire(value, concat, made(leaky[0]) if leaky else wiring.add("Relu", [value], f"{value.name}/Relu"))


def _alpha(node: ir.Node) -> float:
    return node.attributes["alpha"].as_float() if "alpha" in node.attributes else 0.01


def _lift_relus(wiring: Wiring) -> None:
    """Puts ReLUs that stand behind moves before them."""
    for relu in wiring.nodes("Relu"):
        moved = given(relu)
        start = moved
        while _moves_only(start) and _keeps_sign(start.producer()):
            start = given(start.producer())  # type: ignore[arg-type]
        if start is not moved and len(takers(start)) == 1:
            first = takers(start)[0]
            rewire(start, first, wiring.add("Relu", [start], f"{start.name}/Relu"))
            made(relu).replace_all_uses_with(moved)


def _moves_only(value: ir.Value) -> bool:
    return maker(value) in MOVES and len(takers(value)) == 1 and not value.is_graph_output()


def _keeps_sign(node: ir.Node | None) -> bool:
    """Tells whether no other values come in; a padding's may be negative."""
    return node is not None and node.op_type != "Pad"


def _end_in_sigmoid(wiring: Wiring) -> None:
    for tanh in wiring.nodes("Tanh"):
        cast = _levels_after(tanh)
        if cast is None:
            continue
        doubled = _doubled(wiring, given(tanh))
        sigmoid = wiring.add("Sigmoid", [doubled], f"{tanh.name}/Sigmoid")
        step = wiring.constant("level", np.float32(1 / 255))
        first = wiring.constant("black", np.uint8(0))
        levels = wiring.add("QuantizeLinear", [sigmoid, step, first], f"{tanh.name}/levels")
        made(cast).replace_all_uses_with(levels, replace_graph_outputs=True)


def _levels_after(tanh: ir.Node) -> ir.Node | None:
    """Returns the cast that ends tanh → · 127.5 + 127.5 → round → clip → uint8, or None where it is not that."""
    node, scale, shift = tanh, 1.0, 0.0
    after: list[str] = []
    while len(takers(made(node))) == 1 and not made(node).is_graph_output():
        node = takers(made(node))[0]
        by = scalar(node.inputs[1]) if len(node.inputs) > 1 else None
        if node.op_type in _STEPS and by is not None and not after:
            scale, shift = _STEPS[node.op_type](scale, shift, by)
        elif node.op_type in {"Round", "Clip"}:
            after.append(node.op_type)
        elif node.op_type == "Cast" and after and made(node).dtype == ir.DataType.UINT8:
            return node if abs(scale - 127.5) < 1e-3 and abs(shift - 127.5) < 1e-3 else None
        else:
            return None
    return None


def _doubled(wiring: Wiring, value: ir.Value) -> ir.Value:
    """Returns twice the value; the convolution that made it is doubled where nobody else takes from it."""
    start = value
    alone = len(takers(start)) == 1
    while alone and maker(start) in MOVES - {"Pad"}:
        start = given(start.producer())  # type: ignore[arg-type]
        alone = len(takers(start)) == 1
    node = start.producer()
    if not alone or node is None or node.op_type != "Conv" or any(numbers(part) is None for part in node.inputs[1:]):
        return wiring.add("Mul", [value, wiring.constant("two", np.float32(2))], f"{value.name}/doubled")
    for index, part in enumerate(node.inputs[1:], 1):
        held = numbers(part)
        assert held is not None  # noqa: S101 (just seen)
        node.replace_input_with(index, wiring.constant(f"{given(node, index).name}.doubled", held * np.float32(2)))
    return value
