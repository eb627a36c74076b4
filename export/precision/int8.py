"""An integer graph for CPUs: static, quantize/dequantize pairs, weights per channel, ranges measured on pictures.

Every convolution stands between dequantisation and quantisation, which is what ONNX Runtime needs to do it in bytes;
what lies between two convolutions is arranged so that it stays in bytes, too. Norms stay fp32 between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx_ir as ir

from export.errors import OptionError
from export.precision.equal import levels_of, root, simplify
from export.precision.normed import carry_normed
from export.precision.ranges import Range, measure
from export.precision.wiring import MOVES, Wiring, given, is_float, made, maker, numbers, rewire, takers

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

# Beyond this, a sigmoid's level is 0 or 255 whatever it is given.
SATURATED = float(np.log(254.5 / 0.5))
MOST_BIAS = 2**30  # int32, with room for the products that are added to it


class Scale(NamedTuple):
    """How a tensor is told in bytes: value = step · (byte - zero)."""

    step: float
    zero: int


def quantize(
    model: onnx.ModelProto, pictures: NDArray[np.uint8], seeds: NDArray[np.int64] | None = None
) -> onnx.ModelProto:
    """Returns the fp32 model as an integer graph whose ranges are those that the pictures, uint8 [n, H, W, C], span.

    A model that takes seeds is given `seeds`, int64 [n], or else the numbers from 0. Raises OptionError where there is
    no picture, the model's samples have 16 bits, or a transposed convolution is left.
    """
    _check(model, pictures)
    wiring = Wiring(model)
    simplify(wiring)
    wiring = Wiring(wiring.finish())
    done = carry_normed(wiring, pictures, seeds)
    carried = [value for value in _carried(wiring) if value not in done]
    names = [value.name or "" for value in carried]
    found = measure(ir.to_proto(wiring.model), names, pictures, seeds)
    scales = {value: _scale(value, found[value.name or ""]) for value in carried}
    _match_concats(wiring, scales)
    _take_samples(wiring, scales)
    for value, scale in scales.items():
        _carry(wiring, value, scale)
    for conv in wiring.nodes("Conv"):
        _quantize_weights(wiring, conv)
    return wiring.finish()


def _check(model: onnx.ModelProto, pictures: NDArray[np.uint8]) -> None:
    if len(pictures) == 0:
        raise OptionError("--precision int8: there are no pictures to measure ranges on; name some with --calibrate")
    if pictures.dtype != np.uint8:
        raise OptionError(
            "--precision int8: bytes inside cannot tell the samples of 16 bits apart; use fp32 or --bits 8"
        )
    kinds = {node.op_type for node in model.graph.node}
    if "ConvTranspose" in kinds:
        raise OptionError("--precision int8: transposed convolutions have no integer form; use --optimize-for cpu")
    if "Conv" not in kinds:
        raise OptionError("--precision int8: the model has no convolutions")


def _carried(wiring: Wiring) -> dict[ir.Value, None]:
    """Returns the fp32 values that are to be told in bytes."""
    found: dict[ir.Value, None] = {}
    for node in wiring.nodes("Conv", "Sigmoid", "LeakyRelu"):
        if node.op_type != "LeakyRelu" or maker(root(given(node))) == "Conv":
            found[root(given(node))] = None
        if node.op_type == "Conv":
            found[_activated(made(node))] = None
    # What is joined or added for a convolution is carried in bytes up to there.
    pending = list(found)
    while pending:
        value = pending.pop()
        source = _behind_relu(value).producer()
        if source is None or not _joins_bytes(source):
            continue
        parts = [root(part) for part in source.inputs if is_float(part)]
        pending += [part for part in parts if part not in found]
        found.update(dict.fromkeys(parts))
    return {
        value: None for node in wiring.graph for value in node.outputs if value in found and levels_of(value) is None
    }


def _joins_bytes(node: ir.Node) -> bool:
    """Tells whether a concatenation or a sum is one of bytes; sums of what a norm gives stay fp32, as the norm is."""
    if any(numbers(part) is not None for part in node.inputs):
        return False
    normed = any(maker(root(part)) == "InstanceNormalization" for part in node.inputs if part is not None)
    return node.op_type == "Concat" or (node.op_type == "Add" and not normed)


def _activated(value: ir.Value) -> ir.Value:
    """Returns what comes of a convolution after the ReLU that is all there is behind it."""
    after = takers(value)
    return made(after[0]) if len(after) == 1 and after[0].op_type == "Relu" else value


def _behind_relu(value: ir.Value) -> ir.Value:
    node = value.producer()
    return given(node) if node is not None and node.op_type == "Relu" else value


def _scale(value: ir.Value, found: Range) -> Scale:
    """Returns the scale that reaches from the least value to the largest and hits 0 exactly, as padding must."""
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    if any(node.op_type == "Sigmoid" for node in takers(value)) or _feeds_sigmoid(value):
        low, high = max(low, -SATURATED), min(high, SATURATED)
    if not high > low:
        return Scale(1.0, 0)
    step = float(np.float32((high - low) / 255))
    return Scale(step, round(min(max(-low / step, 0), 255)))


def _feeds_sigmoid(value: ir.Value) -> bool:
    after = takers(value)
    while len(after) == 1 and after[0].op_type in MOVES:
        after = takers(made(after[0]))
    return len(after) == 1 and after[0].op_type == "Sigmoid"


def _match_concats(wiring: Wiring, scales: dict[ir.Value, Scale]) -> None:
    """Gives those parts of a concatenation that go nowhere else the scale of the whole: they are then only copied."""
    for concat in wiring.nodes("Concat"):
        whole = scales.get(_activated(made(concat)))
        for part in concat.inputs if whole else ():
            start = root(part)  # type: ignore[arg-type]
            if start in scales and maker(start) == "Relu" and len(takers(start)) == 1:
                scales[start] = whole  # type: ignore[assignment]


def _take_samples(wiring: Wiring, scales: dict[ir.Value, Scale]) -> None:
    """Lets convolutions take the picture's own bytes, where all they do not take is a factor and a shift.

    The byte of the value 0 must be whole, which is what [-1, 1] denies (127.5): the half that is missing goes into the
    bias, and only the border's padding is off by it.
    """
    for conv in wiring.nodes("Conv"):
        start = root(given(conv))
        found = levels_of(start)
        if found is None or not _only_convolved(start) or start in scales:
            continue
        zero = round(min(max(-found.shift / found.scale, 0), 255))
        shift = found.shift + zero * found.scale
        for taker in _convolutions(start):
            _shift_bias(wiring, taker, shift)
        scale = Scale(float(np.float32(found.scale)), zero)
        _feed(wiring, start, found.samples, scale)


def _convolutions(value: ir.Value) -> list[ir.Node]:
    found = []
    for node in takers(value):
        found += [node] if node.op_type == "Conv" else _convolutions(made(node))
    return found


def _only_convolved(value: ir.Value) -> bool:
    return all(
        node.op_type == "Conv" or (node.op_type in MOVES and _only_convolved(made(node))) for node in takers(value)
    )


def _shift_bias(wiring: Wiring, conv: ir.Node, shift: float) -> None:
    kernel = numbers(given(conv, 1))
    assert kernel is not None  # noqa: S101 (every convolution of ours has constant weights)
    if shift == 0:
        return
    held = numbers(conv.inputs[2]) if len(conv.inputs) > 2 else None
    bias = shift * kernel.astype(np.float64).sum((1, 2, 3)) + (0 if held is None else held)
    name = (given(conv, 1).name or "").removesuffix("weight") + "bias.shifted"
    conv.resize_inputs(3)
    conv.replace_input_with(2, wiring.constant(name, bias.astype(np.float32)))


def _carry(wiring: Wiring, value: ir.Value, scale: Scale) -> None:
    """Puts the value into bytes, moves them where it moved, and takes them out where it is taken."""
    users = takers(value)
    step, zero = _constants(wiring, value, scale)
    told = wiring.add("QuantizeLinear", [value, step, zero], f"{value.name}/quantized")
    _spread(wiring, value, told, scale, users)


def _feed(wiring: Wiring, value: ir.Value, samples: ir.Value, scale: Scale) -> None:
    _spread(wiring, value, samples, scale, takers(value))


def _spread(wiring: Wiring, value: ir.Value, told: ir.Value, scale: Scale, users: list[ir.Node]) -> None:
    floats = []
    for node in users:
        if node.op_type == "Shape":
            rewire(value, node, told)
        elif node.op_type in MOVES:
            rewire(value, node, told)
            _pad_with_zero(wiring, node, scale)
            moved, after = made(node), takers(made(node))
            moved.type = ir.TensorType(ir.DataType.UINT8)
            _spread(wiring, moved, moved, scale, after)
        elif not _keeps_stream(value, node):
            floats.append(node)
    if floats:
        step, zero = _constants(wiring, value, scale)
        back = wiring.add("DequantizeLinear", [told, step, zero], f"{value.name}/dequantized")
        for node in floats:
            rewire(value, node, back)


def _keeps_stream(value: ir.Value, node: ir.Node) -> bool:
    """Tells whether `node` adds a norm's result to a value that is there in fp32: what is summed up is not rounded."""
    return node.op_type == "Add" and not _joins_bytes(node) and maker(_behind_relu(value)) != "Conv"


def _pad_with_zero(wiring: Wiring, node: ir.Node, scale: Scale) -> None:
    """Makes a padding with zeros pad with the byte that stands for zero."""
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    if node.op_type == "Pad" and mode == "constant":
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(2, wiring.constant(f"{node.name}/zero", np.uint8(scale.zero)))


def _constants(wiring: Wiring, value: ir.Value, scale: Scale) -> tuple[ir.Value, ir.Value]:
    step, zero = f"{value.name}.scale", f"{value.name}.zero"
    known = wiring.graph.initializers
    if step in known and zero in known:
        return known[step], known[zero]
    return wiring.constant(step, np.float32(scale.step)), wiring.constant(zero, np.uint8(scale.zero))


def _quantize_weights(wiring: Wiring, conv: ir.Node) -> None:
    kernel = numbers(given(conv, 1))
    held = numbers(conv.inputs[2]) if len(conv.inputs) > 2 else None
    before = given(conv).producer()
    assert kernel is not None  # noqa: S101 (every convolution of ours has constant weights)
    assert before is not None  # noqa: S101 (a dequantisation, put there before)
    step = float(numbers(given(before, 1)))  # type: ignore[arg-type]
    largest = np.abs(kernel).max((1, 2, 3)).astype(np.float64)
    steps = np.where(largest > 0, largest / 127, 1.0)
    if held is not None:
        # A kernel next to nothing would make the bias overflow: coarser weights lose nothing there.
        steps = np.maximum(steps, np.abs(held) / step / MOST_BIAS)
    steps = steps.astype(np.float32)
    whole = np.clip(np.rint(kernel / steps.reshape(-1, 1, 1, 1)), -127, 127).astype(np.int8)
    conv.replace_input_with(1, _told(wiring, given(conv, 1).name or "", whole, steps))
    if held is not None:
        biases = (steps * np.float32(step)).astype(np.float32)
        told = np.rint(held / biases.astype(np.float64)).astype(np.int32)
        conv.replace_input_with(2, _told(wiring, given(conv, 2).name or "", told, biases))


def _told(wiring: Wiring, name: str, whole: NDArray[Any], steps: NDArray[np.float32]) -> ir.Value:
    """Returns constants in integers, dequantised per output channel."""
    zeros = np.zeros(len(steps), whole.dtype)
    parts = [
        wiring.constant(f"{name}.{part}", held) for part, held in (("int", whole), ("scale", steps), ("zero", zeros))
    ]
    return wiring.add("DequantizeLinear", parts, f"{name}/dequantized", axis=0)
