"""Tensor names that the ResNets of pytorch-CycleGAN-and-pix2pix and the global generator of pix2pixHD share.

Both are one `nn.Sequential` called `model`. With d halvings and n blocks its places are: 1 the 7x7 convolution; 4, 7, …
the halvings; from 4 + 3d the blocks, each a Sequential `conv_block`; from 4 + 3d + n, in steps of three, the doublings;
at 5 + 6d + n the last convolution. A norm stands right behind its convolution. In a block the second convolution is at
5, or at 6 where a dropout stands between.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from export.errors import CheckpointError
from export.sources.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_BLOCK = re.compile(r"model\.(\d+)\.conv_block\.(\d+)\.weight")
MOST_DOWNS = 8


class Residual(NamedTuple):
    """What the names tell of a residual generator."""

    downs: int
    blocks: int
    dropout: bool

    @property
    def last(self) -> str:
        """The last convolution."""
        return f"model.{5 + 6 * self.downs + self.blocks}"

    def layout(self) -> Layout:
        """Returns which of its tensors is which of ours."""
        places = {"first": 1} | {f"down{i}": 1 + 3 * i for i in range(1, self.downs + 1)}
        begin = 4 + 3 * self.downs
        places |= {f"up{self.downs - i}": begin + self.blocks + 3 * i for i in range(self.downs)}
        convs = {block: f"model.{place}" for block, place in places.items()}
        norms = {block: f"model.{place + 1}" for block, place in places.items()}
        for i in range(self.blocks):
            for half, place in (("first", 1), ("second", 6 if self.dropout else 5)):
                convs[f"block{i + 1}.{half}"] = f"model.{begin + i}.conv_block.{place}"
                norms[f"block{i + 1}.{half}"] = f"model.{begin + i}.conv_block.{place + 1}"
        return Layout(convs | {"last": self.last}, norms, "last")


def recognise(file: Path, found: Mapping[str, Tensor]) -> Residual | None:
    """Returns what the names tell, or None where it is no residual generator.

    Raises CheckpointError for one that the references' options do not make.
    """
    inside = {match for name in found if (match := _BLOCK.fullmatch(name))}
    if not inside or "model.1.weight" not in found:
        return None
    first, last = (pick(int(match[1]) for match in inside) for pick in (min, max))
    downs, rest = divmod(first - 4, 3)
    if rest or not 1 <= downs <= MOST_DOWNS:
        raise CheckpointError(
            f"{file}: its residual blocks begin at model.{first}; known are generators that halve 1 to {MOST_DOWNS} "
            f"times, whose blocks begin at model.7, model.10, … model.{4 + 3 * MOST_DOWNS}"
        )
    convs = {int(match[2]) for match in inside if found[match[0]].dim() == 4}
    if 0 in convs:
        raise CheckpointError(f"{file}: its residual blocks pad with zeros; supported are those that reflect (default)")
    return Residual(downs, last - first + 1, dropout=6 in convs)
