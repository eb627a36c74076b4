"""The PatchGAN discriminator of pix2pix (arXiv 1611.07004, appendix 6.1.2).

It looks at A and B together and judges overlapping patches instead of the whole picture: 70x70 pixels with three
layers, 16 with one, 34 with two, 142 with four, 286 with five.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from train.models.norm import conv_bias, norm_layer

if TYPE_CHECKING:
    from train.models.config import DiscriminatorConfig


class PatchGAN(nn.Module):
    """float [N, input_nc, H, W] (A and B side by side in the channels) → logits [N, 1, h, w].

    For three layers and 256x256 pixels, h = w = 30.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        widths = [config.ndf * min(2**i, 8) for i in range(config.n_layers_D + 1)]
        bias = conv_bias(config.norm)
        layers: list[nn.Module] = [nn.Conv2d(config.input_nc, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for i, (channels_in, channels_out) in enumerate(pairwise(widths), 1):
            stride = 2 if i < config.n_layers_D else 1
            layers.append(nn.Conv2d(channels_in, channels_out, 4, stride, 1, bias=bias))
            if norm := norm_layer(config.norm, channels_out):
                layers.append(norm)
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits
