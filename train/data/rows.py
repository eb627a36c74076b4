"""Rows of pictures for people to look at; apart from the grids of a run, so that `lapis-pairs` starts without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from train.data.pictures import Picture

EXAMPLES = 8
GAP = 4  # white pixels between pictures


def spread(length: int, count: int = EXAMPLES) -> list[int]:
    """Returns up to `count` indices below `length`, evenly spread."""
    return [int(index) for index in np.linspace(0, length - 1, min(count, length)).round()]


def beside(pictures: list[Picture]) -> Picture:
    """Puts uint8 pictures [H, W, 1 or 3] of one height into a row, with white between them: [h, w, 3]."""
    padded = [np.pad(_rgb(picture), ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for picture in pictures]
    return np.concatenate(padded, axis=1)


def _rgb(picture: Picture) -> Picture:
    """Shows grey as grey; of other channel counts the first."""
    return picture if picture.shape[2] == 3 else np.repeat(picture[..., :1], 3, axis=2)
