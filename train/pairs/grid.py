"""A picture of what a model made of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from train.data.layouts import read_pair
from train.data.pictures import UnreadablePicture, read_picture, resize, write_png
from train.data.rows import beside, spread
from train.errors import PairsError

if TYPE_CHECKING:
    from pathlib import Path

    from train.data.layouts import Pair
    from train.data.pictures import Picture


def write_grid(output: Path, pairs: list[Pair], translations: Path, rows: int) -> int:
    """Writes a row of A, translation and B for up to `rows` of the pairs that were translated; returns how many.

    Rows have the size of the first translation. Raises PairsError where there is nothing to show, a picture cannot be
    read, or the file cannot be written.
    """
    made = {path.stem: path for path in sorted(translations.glob("*.*"))}
    shown = [pair for pair in pairs if pair.name in made]
    if not shown:
        raise PairsError(f"{translations}: no picture here is named as one of the pairs")
    try:
        middle = [read_picture(made[shown[index].name], 3) for index in spread(len(shown), rows)]
        height, width = middle[0].shape[:2]
        ends = [read_pair(shown[index], 3, 3) for index in spread(len(shown), rows)]
    except UnreadablePicture as error:
        raise PairsError(str(error)) from error
    grid = [
        beside([_fitted(picture, height, width) for picture in (A, translation, B)])
        for (A, B), translation in zip(ends, middle, strict=True)
    ]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_png(output, np.concatenate(grid))
    except OSError as error:
        raise PairsError(f"{output}: cannot be written ({error.strerror})") from error
    return len(grid)


def _fitted(picture: Picture, height: int, width: int) -> Picture:
    if picture.dtype == np.uint16:
        picture = np.rint(picture / 257).astype(np.uint8)
    return resize(picture, height, width)
