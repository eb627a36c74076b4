"""Forms of the transposed convolution that give the same map from ordinary convolutions.

A transposed convolution of stride 2 has four phases: an output pixel's row and column are each even or odd, and each
phase sees its own taps of the kernel. Along one axis, output pixel 2i + r takes kernel tap k = r + 1 - 2d from input
pixel i + d:

    kernel 4        d = -1  d = 0  d = 1        kernel 3        d = -1  d = 0  d = 1
    r = 0 (even)    k = 3   k = 1               r = 0 (even)            k = 1
    r = 1 (odd)             k = 2  k = 0        r = 1 (odd)             k = 2  k = 0

So one convolution with four times the channels computes all phases, and depth-to-space interleaves them. Its kernels
hold the very weights of the transposed convolution; only the order of summation differs.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from export.metadata import Decoder, Precision, Target

_KINDS = {(4, 0), (3, 1)}  # kernel and output padding; both double height and width
_FASTEST: dict[tuple[Target, Precision], Decoder] = {
    # Phases in fp32 are as fast within noise, and more nodes. No integer transposed convolution exists; phases make a
    # U-Net of bytes 3 times as fast as fp32, against 2 times with subpixel.
    ("cpu", "fp32"): "transposed",
    ("cpu", "fp16-weights"): "transposed",
    ("cpu", "fp16"): "transposed",
    ("cpu", "int8"): "phases",
    # Believed, not measured, for want of a GPU: cuDNN and TensorRT run a transposed convolution as one kernel, the
    # gradient of a convolution, on tensor cores, and every other form moves the map once more. Integers as above.
    ("cuda", "fp32"): "transposed",
    ("cuda", "fp16-weights"): "transposed",
    ("cuda", "fp16"): "transposed",
    ("cuda", "int8"): "phases",
}


class SubPixelConv(nn.Module):
    """float [N, C_in, H, W] → [N, C_out, 2H, 2W]: every phase from the same pixels, then depth-to-space.

    A 4x4 kernel becomes 3x3, of whose taps each phase leaves five at zero; a 3x3 kernel becomes 2x2.
    """

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        reach = (-1, 0, 1) if conv.kernel_size[0] == 4 else (0, 1)
        self.pad = (-reach[0], reach[-1]) * 2
        self.weight = nn.Parameter(_phases(conv.weight, (reach, reach)), requires_grad=False)
        self.bias = _repeated(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Doubles height and width."""
        before, after = self.pad[:2]
        if before == after:
            return F.pixel_shuffle(F.conv2d(x, self.weight, self.bias, padding=before), 2)
        return F.pixel_shuffle(F.conv2d(F.pad(x, self.pad), self.weight, self.bias), 2)


class PhaseConv(nn.Module):
    """float [N, C_in, H, W] → [N, C_out, 2H, 2W]: each phase is a 2x2 kernel; of a 4x4 kernel no tap is wasted.

    With a 4x4 kernel, on the map with a border of zeros, the even phase's kernel sits one pixel before the odd one's.
    Interleaved with odd before even, the two meet shifted by one output pixel, and one pixel on each side is left over.
    The phases are the slowest of the channels and are interleaved with channels last: whole runs of memory are moved
    then, and ONNX Runtime, whose integer convolutions work in that layout, cancels the transposes around it.
    """

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.channels = conv.out_channels
        self.crop = conv.kernel_size[0] == 4
        phases = _phases(conv.weight, ((0, 1), (-1, 0)), first=1) if self.crop else _phases(conv.weight, ((0, 1),) * 2)
        self.weight = nn.Parameter(_phases_first(phases), requires_grad=False)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().repeat(4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Doubles height and width."""
        if self.crop:
            phases = F.conv2d(x, self.weight, self.bias, padding=1)
        else:
            phases = F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias)
        interleave = _interleave_in_onnx if torch.onnx.is_in_onnx_export() else _interleave
        return interleave(phases.permute(0, 2, 3, 1), self.channels, crop=self.crop).permute(0, 3, 1, 2)


def _interleave(phases: Tensor, channels: int, *, crop: bool) -> Tensor:
    """[N, H, W, 4C], the channels ordered by row phase, column phase, C → [N, 2H, 2W, C], less a pixel on each side."""
    n, height, width, _ = phases.shape
    whole = phases.reshape(n, height, width, 2, 2 * channels).transpose(2, 3)
    whole = whole.reshape(n, 2 * height, 2 * width, channels)
    return whole[:, 1:-1, 1:-1] if crop else whole


def _interleave_in_onnx(phases: Tensor, channels: int, *, crop: bool) -> Tensor:
    """Spells `_interleave` in operators that need no arithmetic on shapes where height and width are free.

    In ONNX's Reshape 0 keeps the dimension at that place, so a leading 1 holds the places until both sides are merged.
    """
    n, height, width, _ = phases.shape
    split = _operator("Reshape", phases, (0, 0, 0, 2, 2 * channels), to=(n, height, width, 2, 2 * channels))
    rows = _operator("Reshape", split.transpose(2, 3), (0, 1, -1, 0, 0), to=(n, 1, 2 * height, width, 2 * channels))
    whole = _operator("Reshape", rows, (0, 0, 0, -1, channels), to=(n, 1, 2 * height, 2 * width, channels))
    whole = _operator("Squeeze", whole, (1,), to=(n, 2 * height, 2 * width, channels))
    if not crop:
        return whole
    cropped = (n, 2 * height - 2, 2 * width - 2, channels)
    return _operator("Slice", whole, (1, 1), (-1, -1), (1, 2), to=cropped)


def _operator(name: str, x: Tensor, *constants: tuple[int, ...], to: tuple[int, ...]) -> Tensor:
    """Stands for an ONNX operator that makes a tensor of shape `to` from x and constants."""
    inputs = (x, *(torch.tensor(constant) for constant in constants))
    return torch.onnx.ops.symbolic(name, inputs, dtype=x.dtype, shape=to)


def rewrite(generator: nn.Module, decoder: Decoder) -> nn.Module:
    """Returns a copy of the generator whose transposed convolutions have the form `decoder`; equal to about 1e-6.

    "transposed" leaves them as they are. Raises OptionError where a transposed convolution does not double
    height and width as those of U-Nets (4x4) and ResNets (3x3) do.
    """
    rewritten = copy.deepcopy(generator)
    if decoder == "transposed":
        return rewritten
    for path, conv in list(rewritten.named_modules()):
        if isinstance(conv, nn.ConvTranspose2d):
            _check(path, conv)
            form = PhaseConv if decoder == "phases" else SubPixelConv
            rewritten.set_submodule(path, form(conv))
    return rewritten


def choose(target: Target, precision: Precision) -> Decoder:
    """Returns the form that is fastest for the target at that precision; bench/export_forms.py measures them."""
    return _FASTEST[target, precision]


def _check(path: str, conv: nn.ConvTranspose2d) -> None:
    square = len({*conv.kernel_size}) == 1 and len({*conv.output_padding}) == 1
    kind = (conv.kernel_size[0], conv.output_padding[0])
    rest = (conv.stride, conv.padding, conv.dilation, conv.groups)
    if not (square and kind in _KINDS and rest == ((2, 2), (1, 1), (1, 1), 1)):
        raise OptionError(
            f"{path} is {conv}: only 4x4 kernels (output padding 0) and 3x3 kernels (output padding "
            "1) of stride 2, padding 1 and one group have other forms; leave it transposed"
        )


def _phases(weight: Tensor, reaches: Sequence[Sequence[int]], first: int = 0) -> Tensor:
    """Returns kernels [4 C_out, C_in, taps, taps], for the channel order of depth-to-space in torch.

    `weight` is [C_in, C_out, k, k]; `reaches` gives, for the first phase of an axis and the second, the offsets d of
    the input pixels under the taps; `first` is the first phase's r.
    """
    channels_in, channels_out, size, _ = weight.shape
    taps = [[(r + 1 - 2 * d) for d in reach] for r, reach in zip((first, 1 - first), reaches, strict=True)]
    kernels = weight.new_zeros(channels_out, 2, 2, channels_in, len(taps[0]), len(taps[0]))
    for a, b, i, j in torch.cartesian_prod(*map(torch.arange, (2, 2, len(taps[0]), len(taps[0])))).tolist():
        y, x = taps[a][i], taps[b][j]
        if 0 <= y < size and 0 <= x < size:
            kernels[:, a, b, :, i, j] = weight.detach()[:, :, y, x].T
    return kernels.flatten(0, 2)


def _phases_first(kernels: Tensor) -> Tensor:
    """Reorders output channels from C, row phase, column phase to row phase, column phase, C."""
    return kernels.reshape(-1, 4, *kernels.shape[1:]).transpose(0, 1).flatten(0, 1).contiguous()


def _repeated(bias: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().repeat_interleave(4), requires_grad=False)
