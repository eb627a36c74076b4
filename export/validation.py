"""How good a model's pictures are on held-out pairs: the figures that training measures, of any way to translate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchmetrics import MeanAbsoluteError
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from export.errors import PicturesError
from export.metadata import Figures
from export.proof import row

if TYPE_CHECKING:
    from export.metadata import PictureSpec
    from export.proof import Pictures, Seeds, Translate

WINDOW = 11  # pixels that SSIM looks at together


def measure(
    translate: Translate, inputs: Pictures, targets: Pictures, made: PictureSpec, seeds: Seeds | None = None
) -> Figures:
    """Returns the figures of the translations of `inputs` against `targets`, [n, H, W, C] each, as `made` says.

    Samples count from 0 to 1. L1 and PSNR are those of all pixels together, SSIM (windows of 11 pixels) is the mean
    over pictures, as torchmetrics defines them. One picture is translated at a time. Raises PicturesError where the
    pictures are too small for SSIM or are no answers to compare with the targets.
    """
    if min(made.height, made.width) < WINDOW:
        raise PicturesError(
            f"{made.height} x {made.width} pixels are too few for figures; SSIM needs {WINDOW} x {WINDOW}"
        )
    metrics = (
        MeanAbsoluteError(),
        PeakSignalNoiseRatio(data_range=1.0),
        StructuralSimilarityIndexMeasure(data_range=1.0),
    )
    for i in range(len(inputs)):
        answer = translate(inputs[i : i + 1], row(seeds, i))
        _check(answer, targets)
        for metric in metrics:
            metric.update(unit(answer), unit(targets[i : i + 1]))
    l1, psnr, ssim = (float(torch.as_tensor(metric.compute())) for metric in metrics)
    return Figures(l1=l1, psnr=psnr if math.isfinite(psnr) else None, ssim=ssim, pairs=len(inputs))


def _check(answer: Pictures, targets: Pictures) -> None:
    if answer.shape[1:] != targets.shape[1:]:
        raise PicturesError(f"the answers are {list(answer.shape[1:])}, the targets {list(targets.shape[1:])}")


def unit(pictures: Pictures) -> torch.Tensor:
    """Turns samples [n, H, W, C] into floats [n, C, H, W] from 0 to 1."""
    scaled = pictures.astype(np.float32) / np.float32(np.iinfo(pictures.dtype).max)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))
