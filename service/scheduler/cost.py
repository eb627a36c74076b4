"""What a run of an engine costs, learned from the runs themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Weight of the latest run in the mean of its size; and how much of its surprise the other sizes share, since what slows
# one run (a busy machine, a hot GPU) mostly slows all.
_FRESHNESS, _SHARED = 0.2, 0.5
# One run that was interrupted for a while is no reason to refuse callers.
_LARGEST_SURPRISE = 3.0


class CostModel:
    """Seconds of a run by its size: an exponentially weighted mean for every size seen, and a line through them.

    The line, `base + per_row * size`, tells the cost of sizes that have not run yet.
    """

    def __init__(self, measured: Mapping[int, float]) -> None:
        """Start from the warm-up: seconds by size, of one size at least."""
        self._means = dict(measured)
        self._fit()

    @property
    def measured(self) -> dict[int, float]:
        """Seconds by size, of the sizes seen."""
        return dict(self._means)

    def seconds(self, size: int) -> float:
        """Return the seconds that a run of `size` rows takes."""
        known = self._means.get(size)
        return self.base + self.per_row * size if known is None else known

    def observe(self, size: int, seconds: float) -> None:
        """Learn from a run."""
        expected = self.seconds(size)
        surprise = min(seconds / expected, _LARGEST_SURPRISE) if expected > 0 else 1.0
        drift = 1 + _FRESHNESS * _SHARED * (surprise - 1)
        for other in self._means:
            if other != size:
                self._means[other] *= drift
        self._means[size] = expected * (1 + _FRESHNESS * (surprise - 1)) if expected > 0 else seconds
        self._fit()

    def work(self, rows: int, largest: int) -> float:
        """Return the seconds that many rows take one lane, in runs of at most `largest`."""
        whole, rest = divmod(rows, largest)
        return whole * self.seconds(largest) + (self.seconds(rest) if rest else 0.0)

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
