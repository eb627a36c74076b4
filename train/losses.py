"""The losses of pix2pix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor


def gan_loss(logits: Tensor, *, real: bool, gan_mode: str) -> Tensor:
    """Returns the mean loss of logits [N, 1, h, w] that should say real (1) or fake (0).

    "vanilla" is the cross-entropy of the paper, "lsgan" the squared distance (arXiv 1611.04076).
    """
    target = torch.ones_like(logits) if real else torch.zeros_like(logits)
    if gan_mode == "vanilla":
        return F.binary_cross_entropy_with_logits(logits, target)
    return F.mse_loss(logits, target)
