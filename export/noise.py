"""Dropout that a seed decides: the noise of the paper, kept at translation and yet the same every time.

A mask is a function of the row's seed, the layer and the place in the feature map alone: not of the other rows, nor of
the map's size, the machine or the provider. The generator is Squares (B. Widynski, "Squares: A Fast Counter-Based
RNG", arXiv 2004.06278), chosen because sums, products and quotients of unsigned integers are all it takes: ONNX Runtime
has those on the CPU and on CUDA, but shifts and exclusive ors on the CPU alone. Nothing is decided by floating point.

All arithmetic is modulo 2^64. With swap(v) = v * 2^32 + v div 2^32, STEP = 0x9E3779B97F4A7C15, and the generator's
dropout layers counted from 0 in the order of their modules:

    start:  v = seed + (layer + 1) * STEP (a negative seed plus 2^64), then three times v = swap(v * (2 * v + 1)) + STEP
    key  =  2 * start + 1
    word of 32 channels at row y and column x of the feature map, the channels from 32 * g on:
            a = (start + g * 2^32 + y * 2^16 + x) * key,   b = a + key
            v = swap(a * a + a);  v = swap(v * v + b);  v = swap(v * v + a);  word = (v * v + b) div 2^32
    channel c is dropped there where bit c mod 32 of its word, counted from the lowest, is 1; what is kept is doubled.

Seeds map to starts one to one, since v * (2 * v + 1) is a permutation and so is every other step: no two seeds share a
layer's start and key. Places are told apart in maps of up to 65,536 x 65,536.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
import onnxscript
import torch
from torch import Tensor, nn

from export.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import DTypeLike

STEP = 0x9E3779B97F4A7C15
ROUNDS = 3
BITS = 32  # of a word, and so channels
ROW, GROUP = 1 << 16, 1 << 32  # what a step down, and on to the next word, adds to the counter
_HALF = 1 << 32

# An onnx_ir.Value, which onnxscript's own types do not know: they speak of functions that it compiles.
Value = Any
op: Any = onnxscript.opset18


def seed_dropout(generator: nn.Module) -> nn.Module:
    """Returns a copy whose every dropout draws its mask from the row's seed; run it within `drawn_from`.

    Raises OptionError where there is no dropout, or one of another probability than the references' 0.5.
    """
    seeded = copy.deepcopy(generator)
    layers = [(name, module) for name, module in seeded.named_modules() if isinstance(module, nn.Dropout) and module.p]
    if not layers:
        raise OptionError("--noise seeded: this generator has no dropout to draw; leave the option out")
    draw = _Draw(len(layers))
    for index, (name, dropout) in enumerate(layers):
        if dropout.p != 0.5:
            raise OptionError(f"--noise seeded: {name} drops {dropout.p:g} of its input; only 0.5 can be seeded")
        seeded.set_submodule(name, SeededDropout(index, draw))
    return seeded


@contextmanager
def drawn_from(generator: nn.Module, seed: Tensor) -> Iterator[None]:
    """While it lasts, the dropout of a generator of `seed_dropout` draws its masks from `seed`, int64 [N]."""
    (draw,) = {module.draw for module in generator.modules() if isinstance(module, SeededDropout)}
    draw.starts = torch.ops.lapis.starts(seed, draw.layers)
    try:
        yield
    finally:
        draw.starts = None


class _Draw:
    """What a generator's dropout layers share while a picture goes through: where each row's generators start."""

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self.starts: Tensor | None = None  # uint64 [N, layers]


class SeededDropout(nn.Module):
    """float [N, C, H, W] → the same, half of it 0 and the rest doubled, by the masks of the rows' seeds."""

    def __init__(self, index: int, draw: _Draw) -> None:
        super().__init__()
        self.index = index
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        """Drops; raises RuntimeError outside of `drawn_from`."""
        if self.draw.starts is None:
            raise RuntimeError("no seeds to draw from: run the generator within drawn_from")
        dropped: Tensor = x * torch.ops.lapis.mask(x, self.draw.starts, self.index)
        return dropped


# The two operators as PyTorch computes them: int64 stands for uint64, because torch adds and multiplies only that one,
# and modulo 2^64 the bits are the same.


@torch.library.custom_op("lapis::starts", mutates_args=())
def _starts(seed: Tensor, layers: int) -> Tensor:
    """int64 [N] → uint64 [N, layers]."""
    v = seed.unsqueeze(1) + torch.arange(1, layers + 1, device=seed.device) * _signed(STEP)
    for _ in range(ROUNDS):
        v = _swap(v * (v + v + 1)) + _signed(STEP)
    return v.view(torch.uint64)


@torch.library.custom_op("lapis::mask", mutates_args=())
def _mask(x: Tensor, starts: Tensor, layer: int) -> Tensor:
    """The values of x [N, C, H, W] are not looked at; uint64 [N, layers] → x's type [N, C, H, W], of 0 and 2."""
    _, channels, height, width = x.shape
    groups, rows, columns = (torch.arange(n, device=x.device) for n in (-(-channels // BITS), height, width))
    place = (groups * GROUP)[:, None, None] + (rows * ROW)[:, None] + columns
    word = _words(starts.view(torch.int64)[:, layer, None, None, None], place)
    bits = (word.unsqueeze(2) >> torch.arange(BITS, device=x.device)[:, None, None]) & 1
    return ((1 - bits) * 2).flatten(1, 2)[:, :channels].to(x.dtype)


def _words(start: Tensor, place: Tensor) -> Tensor:
    key = start + start + 1
    a = (start + place) * key
    b = a + key
    v = _swap(a * a + a)
    v = _swap(v * v + b)
    v = _swap(v * v + a)
    return _upper(v * v + b)


def _swap(v: Tensor) -> Tensor:
    return (v << 32) + _upper(v)


def _upper(v: Tensor) -> Tensor:
    return (v >> 32) & (_HALF - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@_starts.register_fake
def _(seed: Tensor, layers: int) -> Tensor:
    return seed.new_empty((seed.shape[0], layers), dtype=torch.uint64)


@_mask.register_fake
def _(x: Tensor, starts: Tensor, layer: int) -> Tensor:  # noqa: ARG001 (the operator's signature)
    return torch.empty_like(x)


# And as ONNX computes them.


def _onnx_starts(seed: Value, layers: int) -> Value:
    offsets = [(layer + 1) * STEP % (1 << 64) for layer in range(layers)]
    column = op.Unsqueeze(op.Cast(seed, to=onnx_ir.DataType.UINT64), _constant([1], np.int64))
    v = op.Add(column, _constant(offsets))
    for _ in range(ROUNDS):
        v = op.Mul(v, op.Add(op.Add(v, v), _constant(1)))
        v = op.Add(_onnx_swap(v), _constant(STEP))
    return v


def _onnx_mask(x: Value, starts: Value, layer: int) -> Value:
    channels = int(x.shape[1])
    groups = -(-channels // BITS)
    start = op.Gather(starts, _constant([[[layer]]], np.int64), axis=1)
    first = [[[group * GROUP]] for group in range(groups)]
    word = _onnx_words(start, op.Add(op.Add(start, _constant(first)), _onnx_places(x)))
    # A product moves the bit that counts to the top, and tells it from the others there.
    moved = op.Mul(op.Unsqueeze(word, _constant([2], np.int64)), _constant(_lifts(channels), np.uint32))
    kept = _onnx_merged(op.Less(moved, _constant(1 << 31, np.uint32)), x, groups, channels)
    return op.Where(kept, _constant(2, np.float32), _constant(0, np.float32))


def _onnx_words(start: Value, counter: Value) -> Value:
    key = op.Add(op.Add(start, start), _constant(1))
    a = op.Mul(counter, key)
    b = op.Add(a, key)
    v = _onnx_swap(op.Add(op.Mul(a, a), a))
    v = _onnx_swap(op.Add(op.Mul(v, v), b))
    v = _onnx_swap(op.Add(op.Mul(v, v), a))
    word = op.Div(op.Add(op.Mul(v, v), b), _constant(_HALF))
    return op.Cast(word, to=onnx_ir.DataType.UINT32)


def _onnx_swap(v: Value) -> Value:
    return op.Add(op.Mul(v, _constant(_HALF)), op.Div(v, _constant(_HALF)))


def _onnx_places(x: Value) -> Value:
    """Returns uint64 [H, W], what a place adds to the counter."""
    height, width = x.shape[2], x.shape[3]
    if isinstance(height, int) and isinstance(width, int):
        return _constant(np.arange(height)[:, None] * ROW + np.arange(width))
    rows, columns = (_onnx_counted(x, axis) for axis in (2, 3))
    return op.Add(op.Mul(op.Unsqueeze(rows, _constant([1], np.int64)), _constant(ROW)), columns)


def _onnx_counted(x: Value, axis: int) -> Value:
    """Returns 0, 1, 2 … up to x's size along the axis, uint64."""
    size = op.Squeeze(op.Shape(x, start=axis, end=axis + 1))
    counted = op.Range(_constant(0, np.int64), size, _constant(1, np.int64))
    return op.Cast(counted, to=onnx_ir.DataType.UINT64)


def _lifts(channels: int) -> list[list[list[int]]]:
    return [[[1 << (BITS - 1 - bit)]] for bit in range(min(channels, BITS))]


def _onnx_merged(kept: Value, x: Value, groups: int, channels: int) -> Value:
    """[N, groups, bits, H, W] → [N, channels, H, W]."""
    if groups == 1:
        return op.Squeeze(kept, _constant([1], np.int64))
    merged = op.Reshape(kept, _onnx_shape(x, groups * BITS))
    if channels == groups * BITS:
        return merged
    start, end, axis = (_constant([value], np.int64) for value in (0, channels, 1))
    return op.Slice(merged, start, end, axis)


def _onnx_shape(x: Value, channels: int) -> Value:
    """Returns [N, channels, H, W]."""
    sizes = [x.shape[2], x.shape[3]]
    if all(isinstance(size, int) for size in sizes):
        return _constant([0, channels, *sizes], np.int64)  # 0: as many as there are
    rows, free = op.Shape(x, start=0, end=1), op.Shape(x, start=2, end=4)
    return op.Concat(rows, _constant([channels], np.int64), free, axis=0)


def _constant(values: object, dtype: DTypeLike = np.uint64) -> Value:
    return op.Constant(value=onnx_ir.tensor(np.asarray(values, dtype)))


TRANSLATIONS: dict[Callable[..., object], Callable[..., object]] = {
    torch.ops.lapis.starts.default: _onnx_starts,
    torch.ops.lapis.mask.default: _onnx_mask,
}
