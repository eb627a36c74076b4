"""What stands in for batch norm: each picture's own statistics, or the running ones folded into the convolutions.

The references translate one picture at a time and normalise it with its own statistics. In a batch that would make a
picture's translation depend on its neighbours, so a batch norm is never exported as it is.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from export.metadata import Figures, Origin, Statistics


class Choice(NamedTuple):
    """The statistics, and why these."""

    statistics: Statistics
    reason: str


def choose(
    wanted: Literal["auto", "image", "running"],
    norm: str,
    *,
    batch_size: int | None,
    gathered: bool,
    origin: Origin,
    measured: Mapping[Statistics, Figures] | None,
) -> Choice:
    """Returns what suits how the model was trained, or what proved better on held-out pairs where both are `measured`.

    `gathered` tells whether the norms carry running statistics; `batch_size` is None where nobody knows it. Raises
    OptionError for a wish that the norm cannot grant.
    """
    if norm == "none":
        if wanted != "auto":
            raise OptionError(f"--statistics {wanted}: this generator has no norm; leave the option out")
        return Choice("none", "the generator has no norm")
    if norm == "instance":
        if wanted == "running":
            raise OptionError("--statistics running: instance norm gathers none in training; use image")
        return Choice("image", "instance norm")
    if not gathered:
        return _ungathered(wanted, origin)
    if wanted != "auto":
        return Choice(wanted, "as asked")
    if measured is not None and "image" in measured and "running" in measured:
        return _better(measured["image"], measured["running"])
    return _by_training(batch_size, origin)


def _ungathered(wanted: Literal["auto", "image", "running"], origin: Origin) -> Choice:
    if wanted == "running":
        raise OptionError(
            f"--statistics running: this checkpoint of {origin} carries no running statistics gathered in training; "
            "use image"
        )
    return Choice("image", "as asked" if wanted == "image" else f"{origin} gathers no running statistics")


def _better(image: Figures, running: Figures) -> Choice:
    """Returns the one whose pictures are nearer to the targets; where they are equal, the faster."""
    figures = f"L1 {image.l1:.4f} with image, {running.l1:.4f} with running, on {image.pairs} held-out pairs"
    statistics: Statistics = "image" if _loss(image) < _loss(running) else "running"
    return Choice(statistics, figures)


def _loss(figures: Figures) -> float:
    return figures.l1 if math.isfinite(figures.l1) else math.inf


def _by_training(batch_size: int | None, origin: Origin) -> Choice:
    if batch_size is None:
        return Choice("image", f"as {origin} translates; the batch size of the training is not known")
    return Choice("image" if batch_size == 1 else "running", f"trained at batch size {batch_size}")


class PerImageNorm(nn.Module):
    """A norm that uses, for each picture and channel, the mean and biased variance over its own H and W.

    Equal to a batch norm in training mode at batch size 1, and to an instance norm that keeps no statistics; at 1x1
    pixels the variance is 0 and the shift comes out, which torch's own modules refuse.

    With `wide` the means are taken over rows of pixels first. ONNX Runtime's own operator adds a whole map up in one
    sum, whose rounding shows on maps beyond some 256x256: 0.033 levels of 255 on average at 512x1024, 0.0001 this way.
    """

    def __init__(self, norm: nn.BatchNorm2d | nn.InstanceNorm2d, *, wide: bool = False) -> None:
        super().__init__()
        self.weight = norm.weight
        self.bias = norm.bias
        self.eps = norm.eps
        self.wide = wide

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [N, C, H, W] row by row."""
        if self.wide:
            return self._by_rows(x)
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

    def _by_rows(self, x: Tensor) -> Tensor:
        centred = x - _mean(x)
        levelled = centred * torch.rsqrt(_mean(centred * centred) + self.eps)
        if self.weight is None:
            return levelled
        return levelled * self.weight[:, None, None] + self.bias[:, None, None]


def _mean(x: Tensor) -> Tensor:
    """Returns the means over H and W, [N, C, 1, 1]."""
    return x.mean(3, keepdim=True).mean(2, keepdim=True)


class ReferenceNorm(nn.Module):
    """A batch norm in training mode that gathers nothing, as the references run it at test time.

    It mixes the rows of a batch. At batch size 1 and 1x1 pixels nn.BatchNorm2d refuses to train, because there is
    nothing to learn from; TensorFlow does not, and what comes out is the shift.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight = norm.weight
        self.bias = norm.bias
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [N, C, H, W] with the mean and biased variance of each channel over N, H and W."""
        return torch.batch_norm(
            x,
            self.weight,
            self.bias,
            running_mean=None,
            running_var=None,
            training=True,
            momentum=0.0,
            eps=self.eps,
            cudnn_enabled=False,
        )


def freeze(generator: nn.Module, statistics: Statistics, *, wide: bool = False) -> nn.Module:
    """Returns a copy that treats every row of a batch by itself, with `statistics`.

    No batch norm is left in it, and instance norms take maps of a single pixel. `wide` is for maps beyond some 256x256.
    """
    frozen = copy.deepcopy(generator).eval()
    for block in list(frozen.modules()):
        _free_instance_norms(block, wide=wide)
        for name, norm in _batch_norms(block):
            if statistics == "running":
                _fold(block, name, norm)
            else:
                setattr(block, name, PerImageNorm(norm, wide=wide))
    return frozen


def as_reference(generator: nn.Module, statistics: Statistics) -> nn.Module:
    """Returns a copy that translates one picture as the references do at test time, but for the dropout.

    With `image`, the batch norms are as in training; a batch would mix its rows, so give it one picture at a time.
    """
    reference = copy.deepcopy(generator).eval()
    for block in list(reference.modules()):
        _free_instance_norms(block)
        if statistics == "image":
            for name, norm in _batch_norms(block):
                setattr(block, name, ReferenceNorm(norm))
    return reference


def _batch_norms(block: nn.Module) -> Iterator[tuple[str, nn.BatchNorm2d]]:
    for name, child in list(block.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            yield name, child


def _free_instance_norms(block: nn.Module, *, wide: bool = False) -> None:
    """Puts in their place what computes the same, but takes single pixels too."""
    for name, child in list(block.named_children()):
        if isinstance(child, nn.InstanceNorm2d):
            setattr(block, name, PerImageNorm(child, wide=wide))


def _fold(block: nn.Module, name: str, norm: nn.BatchNorm2d) -> None:
    """Multiplies the norm into the block's `conv`, which it directly follows in every network of ours."""
    conv = block.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)  # noqa: S101 (every block of ours has one)
    block.add_module("conv", fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d)))
    setattr(block, name, nn.Identity())
