"""How far apart pictures are, in levels of 255 whatever the bits of a sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pictures = NDArray[Any]

PEAK = 255.0
_PER_LEVEL = {"uint8": 1, "uint16": 257}


def levels(a: Pictures, b: Pictures) -> NDArray[np.float64]:
    """Returns the absolute differences of two uint8 or two uint16 arrays of one shape, in levels of 255."""
    distance: NDArray[np.float64] = np.abs(np.subtract(a, b, dtype=np.int32)) / _PER_LEVEL[a.dtype.name]
    return distance


class Apart:
    """Gathers the differences of pictures, one after another, so that the memory for one of them is enough."""

    def __init__(self) -> None:
        self.pictures = 0
        self.largest = 0.0
        self._samples = 0
        self._sum = 0.0
        self._squares = 0.0

    def add(self, a: Pictures, b: Pictures) -> None:
        """Takes a picture and its counterpart, uint8 or uint16 [H, W, C], into account."""
        distance = levels(a, b)
        self.pictures += 1
        self.largest = max(self.largest, round(float(distance.max()), 4))
        self._samples += distance.size
        self._sum += float(distance.sum())
        self._squares += float(np.square(distance).sum())

    @property
    def mean(self) -> float:
        """The mean over all samples of all pictures."""
        return self._sum / self._samples

    @property
    def psnr(self) -> float | None:
        """The PSNR in dB of all pictures together; None where they are equal, for it is infinite then."""
        if not self._squares:
            return None
        return round(10 * math.log10(PEAK**2 * self._samples / self._squares), 2)


def among(a: Pictures, b: Pictures) -> Apart:
    """Returns how far apart the pictures are, [n, H, W, C] each, row by row."""
    apart = Apart()
    for row, counterpart in zip(a, b, strict=True):
        apart.add(row, counterpart)
    return apart
