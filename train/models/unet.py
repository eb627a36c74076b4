"""The U-Net generator of pix2pix (arXiv 1611.07004, appendix 6.1.1; layers as in the authors' Torch code).

Every convolution is 4x4, stride 2, padding 1. For unet_256, ngf 64 and a 256x256 picture:

    down1 3→64 @128   down2 →128 @64   down3 →256 @32   down4 →512 @16   down5 →512 @8   down6 →512 @4   down7 →512 @2
    down8 →512 @1
    up8 512→512 @2   up7 1024→512 @4   up6 1024→512 @8   up5 1024→512 @16   up4 1024→256 @32   up3 512→128 @64
    up2 256→64 @128   up1 128→3 @256

up_i takes what up_(i+1) gave and, beside it, what down_i gave: the skip.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.config import GeneratorConfig, downs
from train.models.norm import conv_bias, norm_of

DROPOUTS = 3  # the first three layers of the decoder
PORT_DROPOUTS = 5  # pytorch-CycleGAN-and-pix2pix: from the second layer of the decoder down to this one
WIDEST = 8  # no layer is wider than 8 * ngf


class Down(nn.Module):
    """[N, C, H, W] → [N, C', H/2, W/2]: leaky ReLU, convolution, norm.

    The outermost has no ReLU; it and the innermost have no norm.
    """

    def __init__(
        self, channels_in: int, channels_out: int, config: GeneratorConfig, *, activate: bool, normalise: bool
    ) -> None:
        super().__init__()
        # As in the references, the two convolutions that no batch norm follows have no bias either.
        bias = config.all_biases or conv_bias(config.norm)
        self.conv = nn.Conv2d(channels_in, channels_out, 4, 2, 1, bias=bias)
        self.norm = norm_of(config, channels_out) if normalise else None
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.leaky_relu(x, 0.2) if self.activate else x)
        return x if self.norm is None else self.norm(x)


class Up(nn.Module):
    """[N, C, H, W] → [N, C', 2H, 2W]: ReLU, transposed convolution, norm, dropout.

    The outermost has no norm; the first three of the decoder alone have dropout.
    """

    def __init__(
        self, channels_in: int, channels_out: int, config: GeneratorConfig, *, normalise: bool, dropout: bool
    ) -> None:
        super().__init__()
        bias = config.all_biases or conv_bias(config.norm) or not normalise
        self.conv = nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1, bias=bias)
        self.norm = norm_of(config, channels_out) if normalise else None
        self.dropout = nn.Dropout(0.5) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.relu(x))
        x = x if self.norm is None else self.norm(x)
        return x if self.dropout is None else self.dropout(x)


class UNet(nn.Module):
    """float [N, input_nc, H, W] in [-1, 1] → float [N, output_nc, H, W] in [-1, 1]."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.depth = depth = downs(config)
        # widths[i] is what down_i gives and, but for the last, what it hands over as a skip.
        widths = [config.input_nc] + [config.ngf * min(2**i, WIDEST) for i in range(depth)]
        for i in range(1, depth + 1):
            normalise = 1 < i < depth or (config.innermost_norm and i == depth)
            down = Down(widths[i - 1], widths[i], config, activate=i > 1, normalise=normalise)
            self.add_module(f"down{i}", down)
        for i in range(depth, 0, -1):
            self.add_module(
                f"up{i}",
                Up(
                    widths[i] if i == depth else 2 * widths[i],
                    widths[i - 1] if i > 1 else config.output_nc,
                    config,
                    normalise=i > 1,
                    dropout=config.use_dropout and _drops(config, i, depth),
                ),
            )

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for i in range(1, self.depth + 1):
            x = self.get_submodule(f"down{i}")(x)
            skips.append(x)
        x = self.get_submodule(f"up{self.depth}")(skips.pop())
        for i in range(self.depth - 1, 0, -1):
            x = self.get_submodule(f"up{i}")(torch.cat([skips.pop(), x], dim=1))
        return torch.tanh(x)


def _drops(config: GeneratorConfig, i: int, depth: int) -> bool:
    """Tells whether up_i of a decoder of that depth has dropout."""
    return i > depth - DROPOUTS if config.innermost_dropout else PORT_DROPOUTS <= i < depth
