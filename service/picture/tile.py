"""A picture of any size through a model of one size: cut into overlapping tiles, and the answers blended into one.

Each side is planned for itself. Along a side that is at least as long as a tile, the tiles are spread evenly, all of
them within the picture; a shorter side is filled up on both ends with its mirror image, which is cut off again.

Where tiles overlap, one's weight falls in a straight line over the whole overlap as the other's rises. So the last
pixels before a tile's rim, where a convolutional network sees padding instead of the picture, hardly count, and there
is no line at which one answer turns into another.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.picture.fit import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.picture.samples import Pixels, Samples

    Floats = NDArray[np.float32]

# Least overlap of neighbours as a share of a tile's side. A U-Net's answers differ from what it says of the same place
# elsewhere in a tile mostly in the two pixels at the rim; more overlap than this costs tiles and shows no better.
OVERLAP = 1 / 8


@dataclass(frozen=True)
class Spread:
    """How tiles lie along one side of a picture, in pixels: the picture's length, a tile's, and where each begins.

    There is a single tile, which begins at zero or before, where the picture is no longer than a tile.
    """

    length: int
    tile: int
    starts: tuple[int, ...]


@dataclass(frozen=True)
class TilePlan:
    """The tiles of a picture, in rows from the top, each from the left."""

    rows: Spread
    columns: Spread

    @property
    def count(self) -> int:
        """The number of tiles."""
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Where each tile lies; it reaches beyond the picture along a side that is shorter than a tile."""
        corners = itertools.product(self.rows.starts, self.columns.starts)
        return tuple(Box(top, left, self.rows.tile, self.columns.tile) for top, left in corners)


def plan_tiles(height: int, width: int, tile_height: int, tile_width: int, overlap: float = OVERLAP) -> TilePlan:
    """Plan the least number of tiles that cover height x width pixels and overlap by at least `overlap`.

    The overlap is a share of a tile's side, from 0 to 1: in pixels rounded up, and at most a tile's side less one.
    """
    return TilePlan(_spread(height, tile_height, overlap), _spread(width, tile_width, overlap))


def cut(picture: Pixels, plan: TilePlan, index: int) -> Pixels:
    """Return the tile of that index of [H, W, C] as [tile height, tile width, C], contiguous and a copy."""
    row, column = divmod(index, len(plan.columns.starts))
    return np.array(_along(_along(picture, 0, plan.rows, row), 1, plan.columns, column), order="C")


def blend_bytes(
    plan: TilePlan, rows_scale: float, columns_scale: float, channels: int, dtype: Samples = "uint8"
) -> int:
    """Return the bytes that a Blender of these holds: those of its result, and of one row of tiles as floats."""
    height, kept = _lengths(plan.rows, round(plan.rows.tile * rows_scale))
    width, _ = _lengths(plan.columns, round(plan.columns.tile * columns_scale))
    return (np.dtype(dtype).itemsize * height + 4 * kept) * width * channels


class Blender:
    """Puts the answers to a picture's tiles together.

    An answer is `rows_scale` times as high and `columns_scale` times as wide as the tile it answers, in whole pixels,
    and so is the result, rounded to the nearest (half a pixel up; at least one). Where a scale is no whole number, a
    tile's place is rounded likewise, and so off by half a pixel of the answer at most.

    One row of tiles is held in floating point, the rest in samples of `dtype`: `blend_bytes` tells how many bytes.
    """

    def __init__(
        self, plan: TilePlan, rows_scale: float, columns_scale: float, channels: int, dtype: Samples = "uint8"
    ) -> None:
        self._rows = _Blend.of(plan.rows, rows_scale)
        self._columns = _Blend.of(plan.columns, columns_scale)
        self._channels = channels
        self._result: Pixels = np.empty((self._rows.length, self._columns.length, channels), dtype)
        # A pixel's channels lie side by side in a row, which keeps NumPy's inner loops long.
        self._band: Floats = np.zeros((self._rows.kept, self._columns.length * channels), np.float32)
        self._column_weights = [np.repeat(weights, channels) for weights in self._columns.weights]
        self._top = 0  # of the band in the result
        self._added = 0

    def add(self, tile: Pixels) -> None:
        """Blend in the answer to the next tile, in the plan's order; one thread at a time."""
        row, column = divmod(self._added, len(self._columns.starts))
        self._finish(self._rows.starts[row])
        self._lay(tile, row, column)
        self._added += 1
        if self._added == len(self._rows.starts) * len(self._columns.starts):
            self._finish(self._rows.length)

    def result(self) -> Pixels:
        """Return the picture, [H, W, channels], once every tile has been added."""
        return self._result

    def _lay(self, tile: Pixels, row: int, column: int) -> None:
        rows, columns, channels = self._rows, self._columns, self._channels
        part = tile[rows.skip : rows.skip + rows.kept, columns.skip : columns.skip + columns.kept]
        weighted = part.reshape(rows.kept, columns.kept * channels) * self._column_weights[column]
        weighted *= rows.weights[row][:, np.newaxis]
        left = columns.starts[column] * channels
        self._band[:, left : left + columns.kept * channels] += weighted

    def _finish(self, until: int) -> None:
        """Round the band's rows above `until`, to which no tile will add, and move the others to its top."""
        done = until - self._top
        if not done:
            return
        np.rint(self._band[:done], out=self._band[:done])
        self._result[self._top : until] = self._band[:done].reshape(done, *self._result.shape[1:])
        left_over = len(self._band) - done
        self._band[:left_over] = self._band[done:]
        self._band[left_over:] = 0
        self._top = until


@dataclass(frozen=True)
class _Blend:
    """Where answers lie along one side of the result, and how much each of their pixels counts.

    Of each answer, `kept` pixels from `skip` on are used. Over all answers, a place's weights add up to one.
    """

    length: int
    skip: int
    kept: int
    starts: tuple[int, ...]
    weights: tuple[Floats, ...]

    @classmethod
    def of(cls, spread: Spread, scale: float) -> _Blend:
        answer = round(spread.tile * scale)
        length, kept = _lengths(spread, answer)
        starts = tuple(_scaled(max(0, start), answer, spread.tile) for start in spread.starts)
        skip = _scaled(max(0, -spread.starts[0]), answer, spread.tile)
        return cls(length, skip, kept, starts, _weights(starts, kept, length))


def _scaled(pixels: int, answer: int, tile: int) -> int:
    """Return pixels * answer / tile, rounded to the nearest in whole numbers."""
    return (2 * pixels * answer + tile) // (2 * tile)


def _lengths(spread: Spread, answer: int) -> tuple[int, int]:
    """Return the length of the result along one side, and how much of it the answer to one tile covers."""
    length = max(1, _scaled(spread.length, answer, spread.tile))
    return length, min(answer, length)


def _spread(length: int, tile: int, overlap: float) -> Spread:
    if length <= tile:
        return Spread(length, tile, (-((tile - length) // 2),))
    steps = -(-(length - tile) // max(1, tile - math.ceil(tile * overlap)))
    return Spread(length, tile, tuple((length - tile) * step // steps for step in range(steps + 1)))


def _along(picture: Pixels, axis: int, spread: Spread, index: int) -> Pixels:
    """Cut the tile of that index out along one axis."""
    start = spread.starts[index]
    if spread.length >= spread.tile:
        return picture[start : start + spread.tile] if axis == 0 else picture[:, start : start + spread.tile]
    # There and back again, as often as it takes: a picture of one pixel has a mirror image too.
    there_and_back = np.arange(start, start + spread.tile) % (2 * spread.length)
    return picture.take(np.minimum(there_and_back, 2 * spread.length - 1 - there_and_back), axis)


def _weights(starts: tuple[int, ...], size: int, length: int) -> tuple[Floats, ...]:
    """Return the weights of `size` pixels from each start on, within 0 to `length`."""
    centres = np.arange(size) + 0.5
    weights = [np.ones(size) for _ in starts]
    for (start, weight), (after, weight_after) in itertools.pairwise(zip(starts, weights, strict=True)):
        if overlap := start + size - after:
            np.minimum(weight_after, centres / overlap, out=weight_after)
            np.minimum(weight, centres[::-1] / overlap, out=weight)
    # Next but one can overlap, too, where the tiles had to be spread thinly over little more than one.
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + size] += weight
    return tuple(
        (weight / total[start : start + size]).astype(np.float32) for start, weight in zip(starts, weights, strict=True)
    )
