"""The normalisation that a configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from train.models.config import GeneratorConfig


def norm_layer(norm: str, channels: int, *, affine: bool = False) -> nn.Module | None:
    """Returns a fresh layer for [N, channels, H, W], or None for "none".

    Batch norm: eps 1e-5, momentum 0.1, as the references. Instance norm keeps no statistics and learns a scale and a
    shift only where it is `affine`, which in the references it is not.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=affine)
    return None


def norm_of(config: GeneratorConfig, channels: int) -> nn.Module | None:
    """Returns a fresh layer of the generator's norm for [N, channels, H, W], or None for "none"."""
    return norm_layer(config.norm, channels, affine=config.norm_affine)


def conv_bias(norm: str) -> bool:
    """Tells whether a convolution before the norm keeps its bias: only batch norm brings one of its own."""
    return norm != "batch"
