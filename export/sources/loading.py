"""Where generators come from: checkpoints of ours and of the reference implementations, told apart by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.errors import CheckpointError
from export.sources import lapis, pict, pytorch_port, tf_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from export.sources.source import Source, Wishes

KNOWN = (
    "a checkpoint or run directory of lapis-train, latest_net_G.pth of pytorch-CycleGAN-and-pix2pix or pix2pixHD, or a "
    ".pict file or TensorFlow checkpoint of pix2pix-tensorflow"
)


def load(place: Path, wishes: Wishes) -> Source:
    """Reads whatever checkpoint this is.

    Raises CheckpointError where it is none that is known, damaged, or not what was wished for, and OptionError for a
    wish that it cannot grant.
    """
    if lapis.is_checkpoint(place):
        return lapis.load(place, wishes)
    if tf_checkpoint.is_checkpoint(place):
        return tf_checkpoint.load(place, wishes)
    if place.is_dir():
        raise CheckpointError(f"{place} holds no checkpoint; wanted is {KNOWN}")
    if not place.exists():
        raise CheckpointError(f"{place}: there is no such file; wanted is {KNOWN}")
    return pict.load(place, wishes) if place.suffix == ".pict" else pytorch_port.load(place, wishes)
