"""Convolutions that a per-picture norm follows: each of their channels fills the bytes that carry it.

Their channels may differ in size by orders of magnitude, because the norm levels them. With one scale for all, the
small ones would be told in a few levels. So each channel's kernel is stretched, and its mean shifted away, until it
spans the bytes; the dequantisation before the norm has a scale for each channel and shrinks it again. The shift stays:
a norm takes the mean out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from export.precision.ranges import measure_channels
from export.precision.wiring import Wiring, given, made, numbers, rewire, takers

if TYPE_CHECKING:
    from numpy.typing import NDArray

ZERO, REACH = 128, 127


def carry_normed(wiring: Wiring, pictures: NDArray[np.uint8], seeds: NDArray[np.int64] | None) -> set[ir.Value]:
    """Carries what goes from a convolution straight into a norm in bytes; returns the values that are seen to."""
    convs = [conv for conv in wiring.nodes("Conv") if _normed(conv)]
    names = [made(conv).name or "" for conv in convs]
    found = measure_channels(ir.to_proto(wiring.model), names, pictures, seeds)
    for conv, (lows, highs) in zip(convs, found, strict=True):
        half = np.maximum((highs - lows) / 2, np.finfo(np.float16).tiny)
        users = takers(made(conv))
        _stretch(wiring, conv, REACH / half, (highs + lows) / 2)
        _carry(wiring, made(conv), half / REACH, users)
    return {made(conv) for conv in convs}


def _normed(conv: ir.Node) -> bool:
    after = takers(made(conv))
    return bool(after) and all(node.op_type == "InstanceNormalization" for node in after)


def _stretch(wiring: Wiring, conv: ir.Node, by: NDArray[np.float64], middle: NDArray[np.float64]) -> None:
    kernel = numbers(given(conv, 1))
    bias = numbers(conv.inputs[2]) if len(conv.inputs) > 2 else None
    assert kernel is not None  # noqa: S101 (every convolution of ours has constant weights)
    name = given(conv, 1).name or ""
    conv.resize_inputs(3)
    conv.replace_input_with(1, wiring.constant(name, (kernel * by.reshape(-1, 1, 1, 1)).astype(np.float32)))
    shifted = ((0 if bias is None else bias) - middle) * by
    conv.replace_input_with(2, wiring.constant(f"{name.removesuffix('weight')}bias", shifted.astype(np.float32)))


def _carry(wiring: Wiring, value: ir.Value, steps: NDArray[np.float64], users: list[ir.Node]) -> None:
    one = [wiring.constant(f"{value.name}.scale", np.float32(1)), wiring.constant(f"{value.name}.zero", np.uint8(ZERO))]
    each = [
        wiring.constant(f"{value.name}.scales", steps.astype(np.float32)),
        wiring.constant(f"{value.name}.zeros", np.full(len(steps), ZERO, np.uint8)),
    ]
    told = wiring.add("QuantizeLinear", [value, *one], f"{value.name}/quantized")
    back = wiring.add("DequantizeLinear", [told, *each], f"{value.name}/dequantized", axis=1)
    for node in users:
        rewire(value, node, back)
