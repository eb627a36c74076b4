"""The normalisation that a configuration names."""

from __future__ import annotations

from torch import nn


def norm_layer(norm: str, channels: int) -> nn.Module | None:
    """Returns a fresh layer for [N, channels, H, W], or None for "none".

    Batch norm: eps 1e-5, momentum 0.1, as the references. Instance norm learns no scale and keeps no statistics.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels)
    return None


def conv_bias(norm: str) -> bool:
    """Tells whether a convolution before the norm keeps its bias: only batch norm brings one of its own."""
    return norm != "batch"
