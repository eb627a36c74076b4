"""Colour conversion inside the graph, for networks that colour: they take lightness and give a and b of CIE L*a*b*.

sRGB (IEC 61966-2-1) and D65 with the 2 degree observer, with the constants and the clipping of scikit-image, whose
`rgb2lab` and `lab2rgb` these modules equal. Only sums, products and powers are used, in float32: none of it is a layer
that a quantiser would take for a part of the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

WHITE = (0.95047, 1.0, 1.08883)
RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
LIGHTNESS_SCALE = 50.0  # the network takes L / 50 - 1
AB_SCALE = 110.0  # and gives a / 110 and b / 110

# CIE's curve: a cube root above CUBE, a line below; the same bend seen from the other side is at ROOT.
CUBE, ROOT = 0.008856, 0.2068966
SLOPE, OFFSET = 7.787, 16.0 / 116.0


class Lightness(nn.Module):
    """uint8 or uint16 RGB [N, 3, H, W] → float [N, 1, H, W] in [-1, 1]: L / 50 - 1."""

    table: Tensor
    weights: Tensor

    def __init__(self, largest: int) -> None:
        super().__init__()
        levels = torch.arange(largest + 1, dtype=torch.float64) / largest
        bright = ((levels.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
        linear = torch.where(levels > 0.04045, bright, levels / 12.92)
        # A table, because a level has so few values and a power is the slowest thing that a CPU does to a picture.
        self.register_buffer("table", linear.float().unsqueeze(1), persistent=False)
        self.register_buffer("weights", _planes(RGB_TO_XYZ[1]), persistent=False)

    def forward(self, rgb: Tensor) -> Tensor:
        """Returns what the network takes."""
        linear = functional.embedding(rgb.int(), self.table).squeeze(-1)
        y = (linear * self.weights).sum(1, keepdim=True)
        root = torch.where(y > CUBE, y.clamp_min(CUBE) ** (1 / 3), y * SLOPE + OFFSET)
        return root * (116.0 / LIGHTNESS_SCALE) - (16.0 / LIGHTNESS_SCALE + 1.0)


class ToRgb(nn.Module):
    """float [N, 1, H, W], L / 50 - 1, and [N, 2, H, W], a / 110 and b / 110 → sRGB, float [N, 3, H, W] in [0, 1].

    What lies outside the gamut is clipped, channel by channel.
    """

    shares: Tensor
    mixture: Tensor

    def __init__(self) -> None:
        super().__init__()
        from_xyz = torch.linalg.inv(torch.tensor(RGB_TO_XYZ, dtype=torch.float64))
        white = torch.tensor(WHITE, dtype=torch.float64)
        self.register_buffer("shares", _planes((AB_SCALE / 500.0, -AB_SCALE / 200.0)), persistent=False)
        self.register_buffer("mixture", (from_xyz * white).float().reshape(1, 3, 3, 1, 1), persistent=False)

    def forward(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Returns the colours that lightness and ab make."""
        y = lightness * (LIGHTNESS_SCALE / 116.0) + (LIGHTNESS_SCALE + 16.0) / 116.0
        x, z = (ab * self.shares + y).chunk(2, dim=1)
        roots = torch.cat([x, y, z.clamp_min(0.0)], dim=1)
        xyz = torch.where(roots > ROOT, roots * roots * roots, (roots - OFFSET) / SLOPE)
        rgb = (xyz.unsqueeze(1) * self.mixture).sum(2)
        return torch.where(rgb > 0.0031308, 1.055 * rgb.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * rgb)


def _planes(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
