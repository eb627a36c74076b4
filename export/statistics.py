"""What stands in for batch norm: each picture's own statistics, or the running ones folded into the convolutions.

The references translate one picture at a time and normalise it with its own statistics. In a batch that would make a
picture's translation depend on its neighbours, so a batch norm is never exported as it is.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from export.metadata import Statistics


class Choice(NamedTuple):
    """The statistics, and why these."""

    statistics: Statistics
    reason: str


def choose(wanted: Literal["auto", "image", "running"], norm: str, batch_size: int) -> Choice:
    """Returns what suits how the model was trained; raises OptionError for a wish that its norm cannot grant."""
    if norm == "none":
        if wanted != "auto":
            raise OptionError(f"--statistics {wanted}: this generator has no norm; leave the option out")
        return Choice("none", "the generator has no norm")
    if norm == "instance":
        if wanted == "running":
            raise OptionError("--statistics running: instance norm gathers none in training; use image")
        return Choice("image", "instance norm")
    if wanted != "auto":
        return Choice(wanted, "as asked")
    statistics: Statistics = "image" if batch_size == 1 else "running"
    return Choice(statistics, f"trained at batch size {batch_size}")


class PerImageNorm(nn.Module):
    """A batch norm that uses, for each picture and channel, the mean and biased variance over its own H and W.

    Equal to the batch norm in training mode at batch size 1; at 1x1 pixels the variance is 0 and the bias comes out.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight = norm.weight
        self.bias = norm.bias
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [N, C, H, W] row by row."""
        # torch's own entry point, because F.instance_norm refuses 1x1 pixels.
        return torch.instance_norm(
            x,
            self.weight,
            self.bias,
            running_mean=None,
            running_var=None,
            use_input_stats=True,
            momentum=0.0,
            eps=self.eps,
            cudnn_enabled=False,
        )


def freeze(generator: nn.Module, statistics: Statistics) -> nn.Module:
    """Returns a copy that treats every row of a batch by itself, with `statistics`."""
    frozen = copy.deepcopy(generator).eval()
    for block in frozen.modules():
        for name, norm in _batch_norms(block):
            if statistics == "image":
                setattr(block, name, PerImageNorm(norm))
            else:
                _fold(block, name, norm)
    return frozen


def as_reference(generator: nn.Module, statistics: Statistics) -> nn.Module:
    """Returns a copy that translates one picture as the references do at test time, but for the dropout.

    With `image`, the batch norms stay in training mode; a batch would mix its rows, so give it one picture at a time.
    """
    reference = copy.deepcopy(generator).eval()
    if statistics == "image":
        for block in reference.modules():
            for _, norm in _batch_norms(block):
                norm.train()
    return reference


def _batch_norms(block: nn.Module) -> Iterator[tuple[str, nn.BatchNorm2d]]:
    for name, child in list(block.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            yield name, child


def _fold(block: nn.Module, name: str, norm: nn.BatchNorm2d) -> None:
    """Multiplies the norm into the block's `conv`, which it directly follows in every network of ours."""
    conv = block.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)  # noqa: S101 (every block of ours has one)
    block.add_module("conv", fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d)))
    setattr(block, name, nn.Identity())
