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
    """float [N, C_in, H, W] → [N, C_out, 2H, 2W]: each phase of a 4x4 kernel is a 2x2 kernel, no tap is wasted.

    On the map with a border of zeros, the even phase's kernel sits one pixel before the odd one's. Interleaved with odd
    before even, the two meet shifted by one output pixel, and what is left over is one pixel on each side.
    """

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(_phases(conv.weight, ((0, 1), (-1, 0)), first=1), requires_grad=False)
        self.bias = _repeated(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Doubles height and width."""
        whole = F.pixel_shuffle(F.conv2d(x, self.weight, self.bias, padding=1), 2)
        return whole[:, :, 1:-1, 1:-1]


def rewrite(generator: nn.Module, decoder: Decoder) -> nn.Module:
    """Returns a copy of the generator whose transposed convolutions have the form `decoder`; equal to about 1e-6.

    "transposed" leaves them as they are. Of a 3x3 kernel "subpixel" and "phases" are the same. Raises OptionError where
    a transposed convolution does not double height and width as those of U-Nets (4x4) and ResNets (3x3) do.
    """
    rewritten = copy.deepcopy(generator)
    if decoder == "transposed":
        return rewritten
    for path, conv in list(rewritten.named_modules()):
        if isinstance(conv, nn.ConvTranspose2d):
            _check(path, conv)
            phases = decoder == "phases" and conv.kernel_size[0] == 4
            rewritten.set_submodule(path, PhaseConv(conv) if phases else SubPixelConv(conv))
    return rewritten


def choose(target: Target, precision: Precision) -> Decoder:
    """Returns the form that is fastest for the target at that precision."""
    if target == "cpu" and precision == "int8":
        return "phases"
    return "transposed"


def _check(path: str, conv: nn.ConvTranspose2d) -> None:
    square = len({*conv.kernel_size}) == 1 and len({*conv.output_padding}) == 1
    kind = (conv.kernel_size[0], conv.output_padding[0])
    rest = (conv.stride, conv.padding, conv.dilation, conv.groups)
    if not (square and kind in _KINDS and rest == ((2, 2), (1, 1), (1, 1), 1)):
        raise OptionError(
            f"{path or 'the generator'} is {conv}: only 4x4 kernels (output padding 0) and 3x3 kernels (output padding "
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


def _repeated(bias: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().repeat_interleave(4), requires_grad=False)
