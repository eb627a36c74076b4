"""The residual generators: those of pytorch-CycleGAN-and-pix2pix and the global generator of pix2pixHD.

Both are one network (after arXiv 1603.08155): halve a few times, think in residual blocks, double as often. For
resnet_9blocks, ngf 64 and a 256x256 picture:

    first 7x7 3→64 @256   down1 64→128 @128   down2 128→256 @64
    block1 … block9 256→256 @64: two convolutions each
    up2 256→128 @128   up1 128→64 @256   last 7x7 64→3 @256

"global" halves four times, so that its blocks are 1024 wide, and keeps a bias beside every norm (arXiv 1711.11585).
Borders are reflected, never padded with zeros, wherever the size stays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.models.config import GeneratorConfig, blocks, downs
from train.models.norm import conv_bias, norm_of


class Layer(nn.Module):
    """[N, C, H, W] → [N, C', H', W']: convolution, norm, ReLU; without `activate` the ReLU is left out."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.Module | None, *, activate: bool = True) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x if self.norm is None else self.norm(x)
        return F.relu(x) if self.activate else x


class Block(nn.Module):
    """[N, C, H, W] → the same: what two 3x3 convolutions find is added; dropout between the two."""

    def __init__(self, channels: int, config: GeneratorConfig, *, bias: bool) -> None:
        super().__init__()
        self.first = Layer(_same(channels, channels, 3, bias=bias), norm_of(config, channels))
        self.dropout = nn.Dropout(0.5) if config.use_dropout else None
        self.second = Layer(_same(channels, channels, 3, bias=bias), norm_of(config, channels), activate=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.first(x)
        found = found if self.dropout is None else self.dropout(found)
        difference: Tensor = self.second(found)
        return x + difference


class ResNet(nn.Module):
    """float [N, input_nc, H, W] in [-1, 1] → float [N, output_nc, H, W] in [-1, 1]."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.downs, self.blocks = downs(config), blocks(config)
        widths = [config.ngf * 2**i for i in range(self.downs + 1)]
        bias = config.all_biases or conv_bias(config.norm) or config.netG == "global"
        self.first = Layer(_same(config.input_nc, widths[0], 7, bias=bias), norm_of(config, widths[0]))
        for i in range(1, self.downs + 1):
            down = nn.Conv2d(widths[i - 1], widths[i], 3, 2, 1, bias=bias)
            self.add_module(f"down{i}", Layer(down, norm_of(config, widths[i])))
        for i in range(1, self.blocks + 1):
            self.add_module(f"block{i}", Block(widths[-1], config, bias=bias))
        for i in range(self.downs, 0, -1):
            up = nn.ConvTranspose2d(widths[i], widths[i - 1], 3, 2, 1, output_padding=1, bias=bias)
            self.add_module(f"up{i}", Layer(up, norm_of(config, widths[i - 1])))
        self.last = Layer(_same(widths[0], config.output_nc, 7, bias=True), None, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for i in range(1, self.downs + 1):
            x = self.get_submodule(f"down{i}")(x)
        for i in range(1, self.blocks + 1):
            x = self.get_submodule(f"block{i}")(x)
        for i in range(self.downs, 0, -1):
            x = self.get_submodule(f"up{i}")(x)
        return torch.tanh(self.last(x))


def _same(channels_in: int, channels_out: int, kernel: int, *, bias: bool) -> nn.Conv2d:
    """Returns a convolution that keeps height and width, with reflected borders."""
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias)
