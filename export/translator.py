"""The graph's contract as a module: samples of pictures in, samples of pictures out."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from export import noise
from export.colour import Lightness, ToRgb

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from export.metadata import PictureSpec, Samples, Scaling

TYPES: dict[Samples, torch.dtype] = {"uint8": torch.uint8, "uint16": torch.uint16}


class Translator(nn.Module):
    """uint8 or uint16 [N, H, W, C_in] → uint8 or uint16 [N, H, W, C_out], as `given` and `made` say.

    The generator works on float [N, C, H, W]: it takes [-1, 1], with `scaling` "unit" [0, 1], and gives [-1, 1].
    With `lab`, RGB comes and goes, and the generator takes L / 50 - 1 and gives a / 110 and b / 110. With `seeded`,
    the generator is one of `export.noise.seed_dropout`, and an int64 seed [N] goes with the pictures.

    The values of the largest sample are 255 and 65535. A result is rounded to the nearest level, halves to even.
    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        given: PictureSpec,
        made: PictureSpec,
        scaling: Scaling = "signed",
        lab: bool = False,
        seeded: bool = False,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.given, self.made = given, made
        self.scaling = scaling
        self.seeded = seeded
        self.lightness = Lightness(int(_largest(given))) if lab else None
        self.to_rgb = ToRgb() if lab else None

    def forward(self, image: Tensor, seed: Tensor | None = None) -> Tensor:
        """Translates every row by itself, if the generator does."""
        real_A = self._scaled(image.permute(0, 3, 1, 2))
        with self._noise(seed):
            fake_B = self.generator(real_A)
        largest = _largest(self.made)
        levels: Tensor = (
            fake_B * (largest / 2) + largest / 2 if self.to_rgb is None else self.to_rgb(real_A, fake_B) * largest
        )
        # ONNX rounds halves to even, too.
        return levels.round().clamp(0.0, largest).to(TYPES[self.made.dtype]).permute(0, 2, 3, 1)

    def _noise(self, seed: Tensor | None) -> AbstractContextManager[None]:
        if not self.seeded:
            return nullcontext()
        if seed is None:
            raise ValueError("a seeded translator needs a seed for each picture")
        return noise.drawn_from(self.generator, seed)

    def _scaled(self, image: Tensor) -> Tensor:
        """Returns the network's input for samples [N, C, H, W]."""
        if self.lightness is not None:
            real_L: Tensor = self.lightness(image)
            return real_L
        largest = _largest(self.given)
        return image.float() / largest if self.scaling == "unit" else image.float() / (largest / 2) - 1.0


def _largest(spec: PictureSpec) -> float:
    return 65_535.0 if spec.dtype == "uint16" else 255.0
