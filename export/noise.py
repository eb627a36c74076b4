"""Dropout that a seed decides: the noise of the paper, kept at translation and yet the same every time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


@contextmanager
def drawn_from(generator: nn.Module, seed: Tensor | None) -> Iterator[None]:
    """While it lasts, the generator's dropout draws its masks from `seed`, int64 [N]."""
    yield


TRANSLATIONS: dict[object, object] = {}
