"""Durations counted in buckets that are 1 % wide: any number of them in 20 kB, with every percentile to 0.5 %."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What is shorter counts as LEAST, what is longer than LEAST * GROWTH ** (SIZE - 1), over an hour, as that.
LEAST = 1e-6
GROWTH = 1.01
SIZE = 2212
_PER_LOG = 1 / math.log(GROWTH)


def bucket_of(seconds: float) -> int:
    """Returns the number of the bucket that holds a duration."""
    return min(int(math.log(seconds / LEAST) * _PER_LOG), SIZE - 1) if seconds > LEAST else 0


def percentile(counts: NDArray[np.integer], share: float) -> float:
    """Returns the middle of the bucket that holds the `share` (0 to 1) quantile of int [SIZE] counts; NaN for none."""
    cumulative = np.cumsum(counts)
    if not cumulative[-1]:
        return math.nan
    rank = max(1, math.ceil(share * int(cumulative[-1])))
    return float(LEAST * GROWTH ** (int(np.searchsorted(cumulative, rank)) + 0.5))


class Histogram:
    """Durations in seconds; exact in number, sum, least and most, and to 0.5 % in the percentiles."""

    def __init__(self) -> None:
        self.counts = np.zeros(SIZE, np.int64)
        self.total = 0
        self.sum = 0.0
        self.least = math.inf
        self.most = 0.0

    def add(self, seconds: float) -> None:
        """Counts one duration in."""
        self.counts[bucket_of(seconds)] += 1
        self.total += 1
        self.sum += seconds
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)

    def merge(self, other: Self) -> None:
        """Counts in what the other has counted."""
        self.counts += other.counts
        self.total += other.total
        self.sum += other.sum
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)

    @property
    def mean(self) -> float:
        """The exact mean; NaN where nothing was counted."""
        return self.sum / self.total if self.total else math.nan

    def percentile(self, share: float) -> float:
        """Returns the duration that `share` (0 to 1) of those counted do not exceed; NaN where nothing was counted."""
        return min(max(percentile(self.counts, share), self.least), self.most) if self.total else math.nan

    def above(self, seconds: float) -> int:
        """Returns how many are longer, to the precision of a bucket."""
        return int(self.counts[bucket_of(seconds) + 1 :].sum()) if self.most > seconds else 0
