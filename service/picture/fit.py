"""From a picture's size to the model's, and back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from service.picture.samples import white

if TYPE_CHECKING:
    from service.picture.samples import Pixels


class Fit(Enum):
    """Ways to bring a picture to the model's size."""

    STRETCH = "stretch"
    PAD = "pad"
    CROP = "crop"
    TILE = "tile"
    NONE = "none"


# TILE keeps the picture's size: `service.picture.tile` cuts it. NONE is for pictures that have the size already.
Resizing = Literal[Fit.STRETCH, Fit.PAD, Fit.CROP, Fit.NONE]


@dataclass(frozen=True)
class Box:
    """A rectangle within a picture, in pixels from the top left."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, picture: Pixels) -> Pixels:
        """Returns a view of that part of [H, W, C]."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]

    def scaled(self, rows: float, columns: float) -> Box:
        """Returns the same rectangle in a picture that is `rows` times as high and `columns` times as wide."""
        height, width = max(1, round(self.height * rows)), max(1, round(self.width * columns))
        return Box(round(self.top * rows), round(self.left * columns), height, width)


@dataclass(frozen=True)
class Placement:
    """Which part of the picture that was sent (`source`) stands where (`target`) at the model's size."""

    source: Box
    target: Box
    height: int
    width: int


def fit(picture: Pixels, height: int, width: int, how: Resizing, *, at_scale: bool = False) -> tuple[Pixels, Placement]:
    """Brings [H, W, C] to [height, width, C].

    STRETCH ignores the aspect ratio; PAD keeps it and fills up with white, the picture in the middle; CROP keeps it and
    cuts off what is over, the same on both sides; NONE is for a picture of that very size, else ValueError. With
    `at_scale`, PAD does not resize a picture that fits as it is, nor CROP one that covers the size. The second result
    tells `restore` how to go back.
    """
    whole = Box(0, 0, *picture.shape[:2])
    if how is Fit.NONE and (whole.height, whole.width) != (height, width):
        raise ValueError(f"a picture of {whole.height} x {whole.width} is not {height} x {width}")
    source, target = whole, Box(0, 0, height, width)
    if how is Fit.CROP:
        source = (at_scale and _within(target, whole)) or _kept(whole, height, width)
    elif how is Fit.PAD:
        target = (at_scale and _within(whole, target)) or _padded(whole, height, width)
    resized = _resize(source.cut(picture), target.height, target.width)
    if (target.height, target.width) != (height, width):
        canvas = np.full((height, width, picture.shape[2]), white(picture), picture.dtype)
        target.cut(canvas)[:] = resized
        resized = canvas
    return resized, Placement(source, target, height, width)


def restore(picture: Pixels, placement: Placement) -> Pixels:
    """Brings what the model made of a picture back to the size of what was sent.

    PAD's margins are taken off; after CROP the result has the size of the part that was kept. The model's output may be
    larger or smaller than its input.
    """
    target = placement.target.scaled(picture.shape[0] / placement.height, picture.shape[1] / placement.width)
    return _resize(target.cut(picture), placement.source.height, placement.source.width)


def _within(box: Box, outer: Box) -> Box | None:
    """Returns where a box lies in the middle of another; None where it is too large for it."""
    if box.height > outer.height or box.width > outer.width:
        return None
    return _centred(box.height, box.width, outer.height, outer.width)


def _kept(whole: Box, height: int, width: int) -> Box:
    """Returns the largest box in the middle of `whole` with the aspect ratio of height to width."""
    kept_height = min(whole.height, max(1, round(whole.width * height / width)))
    kept_width = min(whole.width, max(1, round(whole.height * width / height)))
    return _centred(kept_height, kept_width, whole.height, whole.width)


def _padded(whole: Box, height: int, width: int) -> Box:
    """Returns the largest box in the middle of height x width with the aspect ratio of `whole`."""
    scale = min(height / whole.height, width / whole.width)
    return _centred(max(1, round(whole.height * scale)), max(1, round(whole.width * scale)), height, width)


def _centred(height: int, width: int, outer_height: int, outer_width: int) -> Box:
    return Box((outer_height - height) // 2, (outer_width - width) // 2, height, width)


def _resize(picture: Pixels, height: int, width: int) -> Pixels:
    """Averages areas along the sides that shrink, then interpolates cubically along those that grow.

    Both keep the middle of the picture in the middle. OpenCV's area method turns into another one when any side grows,
    hence one after the other.
    """
    least = min(picture.shape[0], height), min(picture.shape[1], width)
    return _resample(_resample(picture, *least, cv2.INTER_AREA), height, width, cv2.INTER_CUBIC)


def _resample(picture: Pixels, height: int, width: int, method: int) -> Pixels:
    if picture.shape[:2] == (height, width):
        return picture
    # OpenCV resizes at most four channels at a time.
    parts: list[Pixels] = [
        cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=method).reshape(height, width, -1)  # type: ignore[misc]
        for part in np.split(picture, range(4, picture.shape[2], 4), axis=2)
    ]
    return np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
