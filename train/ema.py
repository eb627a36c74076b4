"""An exponential moving average of the generator: steadier pictures than the last step's weights give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Moves `average`, running statistics included, a step towards `network`.

    Early on the decay is smaller, so that the first random weights are soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:  # how many batches a norm has seen
            mean.copy_(value)
