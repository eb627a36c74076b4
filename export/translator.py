"""The graph's contract as a module: bytes of pictures in, bytes of pictures out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Translator(nn.Module):
    """uint8 [N, H, W, C_in] → uint8 [N, H, W, C_out] around a generator that works on float [N, C, H, W] in [-1, 1]."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor) -> Tensor:
        """Translates every row by itself, if the generator does."""
        real_A = image.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        fake_B = self.generator(real_A)
        levels = torch.round((fake_B * 0.5 + 0.5) * 255.0)  # halves to even, as ONNX rounds
        return levels.clamp(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)
