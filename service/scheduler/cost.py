"""What a run of an engine costs, learned from the runs themselves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from service.scheduler.kind import USUAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.scheduler.kind import Kind

# Weight of the latest run in the mean of its size; and how much of its surprise the other sizes share, since what slows
# one run (a busy machine, a hot GPU) mostly slows all.
_FRESHNESS, _SHARED = 0.2, 0.5
# One run that was interrupted for a while is no reason to refuse callers.
_LARGEST_SURPRISE = 3.0
# Kinds whose scales differ by less than about a fifth are taken for one, so that there are only so many.
_STEPS_PER_DOUBLING = 4
# After so many runs what is known of a kind is more than a guess.
_SETTLED = 5


class CostModel:
    """Seconds of a run by its size: an exponentially weighted mean for every size seen, and a line through them.

    The line, `base + per_row * size`, tells the cost of sizes that have not run yet, and what rows of another kind
    cost: as much as usual ones of the same total scale, times a factor that is learned for scales like theirs.
    """

    def __init__(self, measured: Mapping[int, float]) -> None:
        """Start from the warm-up: seconds by size of usual rows, of one size at least."""
        self._means = dict(measured)
        self._factors: dict[int, _Factor] = {}
        self._fit()

    @property
    def measured(self) -> dict[int, float]:
        """Seconds by size, of the sizes seen, of usual rows."""
        return dict(self._means)

    def seconds(self, size: int, kind: Kind = USUAL) -> float:
        """Return the seconds that a run of `size` rows of a kind takes."""
        if kind is not USUAL and kind != USUAL:
            return self._scaled(size, kind) * self._factor(kind)
        known = self._means.get(size)
        return self.base + self.per_row * size if known is None else known

    def observe(self, size: int, seconds: float, kind: Kind = USUAL) -> None:
        """Learn from a run."""
        if kind != USUAL:
            self._observe_other(size, seconds, kind)
            return
        expected = self.seconds(size)
        surprise = min(seconds / expected, _LARGEST_SURPRISE) if expected > 0 else 1.0
        self._drift(surprise, but=size)
        self._means[size] = expected * (1 + _FRESHNESS * (surprise - 1)) if expected > 0 else seconds
        self._fit()

    def best(self, sizes: Iterable[int], kind: Kind = USUAL) -> float:
        """Return the seconds that a row of a kind takes in that of these sizes of run in which it takes least."""
        return min(self.seconds(size, kind) / size for size in sizes)

    def work(self, rows: int, largest: int, kind: Kind = USUAL) -> float:
        """Return the seconds that many rows of a kind take one lane, in runs of at most `largest`."""
        whole, rest = divmod(rows, largest)
        return whole * self.seconds(largest, kind) + (self.seconds(rest, kind) if rest else 0.0)

    def _observe_other(self, size: int, seconds: float, kind: Kind) -> None:
        expected = self.seconds(size, kind)
        if expected <= 0:
            return
        surprise = min(seconds / expected, _LARGEST_SURPRISE)
        factor = self._factors.setdefault(_step(kind), _Factor(self._factor(kind)))
        # A guess by scale alone may be far off, which says nothing of how fast the machine is now.
        if factor.runs >= _SETTLED:
            self._drift(surprise)
            self._fit()
        factor.runs += 1
        weight = max(_FRESHNESS, 1 / (factor.runs + 1))
        factor.value = expected * (1 + weight * (surprise - 1)) / self._scaled(size, kind)

    def _drift(self, surprise: float, but: int = 0) -> None:
        drift = 1 + _FRESHNESS * _SHARED * (surprise - 1)
        for size in self._means:
            if size != but:
                self._means[size] *= drift

    def _scaled(self, size: int, kind: Kind) -> float:
        """Return what usual rows of the same total scale cost."""
        return self.base + self.per_row * size * kind.scale

    def _factor(self, kind: Kind) -> float:
        """Return the factor for scales like this one, or else that of the nearest known; usual rows have 1."""
        step = _step(kind)
        if known := self._factors.get(step):
            return known.value
        nearest = min(self._factors, key=lambda other: abs(other - step), default=0)
        return self._factors[nearest].value if abs(nearest - step) < abs(step) else 1.0

    def _fit(self) -> None:
        """Draw the line of least squares through the means; never one that falls, nor one that starts below 0."""
        sizes, seconds = list(self._means), list(self._means.values())
        middle, mean = sum(sizes) / len(sizes), sum(seconds) / len(seconds)
        spread = sum((size - middle) ** 2 for size in sizes)
        if spread == 0:
            self.per_row, self.base = mean / middle, 0.0
            return
        slope = sum((size - middle) * (mine - mean) for size, mine in zip(sizes, seconds, strict=True)) / spread
        self.per_row = min(max(slope, 0.0), mean / middle)
        self.base = mean - self.per_row * middle


class _Factor:
    """By how much a kind differs from what its scale says, and how many runs tell so."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.runs = 0


def _step(kind: Kind) -> int:
    return round(math.log2(kind.scale) * _STEPS_PER_DOUBLING)
