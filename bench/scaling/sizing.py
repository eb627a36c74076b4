"""How many replicas a load needs, and in what batches they then run: from what a run costs, and how much may be in use.

What is in use is what the chart scales by: the work at what it costs in full batches. A replica is simulated as it
works: calls come at random, and a lane that is free takes all that wait, up to a batch. So batches grow with the load,
and lanes are busy for longer than full batches would keep them.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.scaling.costs import Runs

_CALLS = 20_000
_SETTLING = 1_000  # calls before a replica that began empty is as full as it stays


@dataclass(frozen=True)
class Load:
    """A replica under a load.

    The share of what it can do that is in use, rows of a run, the share of time that a lane is busy, and the seconds
    that calls wait: on average, and what 95 of 100 wait at most.
    """

    used: float
    batch: float
    busy: float
    mean_wait: float
    slow_wait: float


@lru_cache(maxsize=256)
def under(runs: Runs, rate: float) -> Load:
    """Returns what becomes of a replica at so many pictures a second; beyond what it can do, calls wait for ever."""
    if rate >= runs.rate:
        return Load(rate / runs.rate, runs.batch, 1.0, math.inf, math.inf)
    arrivals = np.random.default_rng(0).exponential(1 / rate, _CALLS).cumsum()
    free, waits, sizes, at = [0.0] * runs.lanes, np.empty(_CALLS), [], 0
    while at < _CALLS:
        begin = max(heapq.heappop(free), arrivals[at])
        end = min(int(np.searchsorted(arrivals, begin, "right")), at + runs.batch)
        waits[at:end] = begin - arrivals[at:end]
        sizes.append(end - at)
        heapq.heappush(free, begin + runs.base + (end - at) * runs.row)
        at = end
    batch = _CALLS / len(sizes)
    settled = waits[_SETTLING:]
    busy = rate * (runs.base / batch + runs.row) / runs.lanes
    return Load(rate / runs.rate, batch, busy, float(settled.mean()), float(np.quantile(settled, 0.95)))


@dataclass(frozen=True)
class Aim:
    """What is enough: no more than a share of what replicas can do, or a wait that 95 of 100 calls keep within."""

    used: float
    wait: float = 0.0

    def is_met(self, load: Load) -> bool:
        """Whether a replica under this load keeps to it; a wait, where one is given, goes in place of the share."""
        return load.slow_wait <= self.wait if self.wait else load.used <= self.used + 1e-9


def replicas(runs: Runs, rate: float, aim: Aim) -> int:
    """Returns the fewest replicas that keep to the aim at so many pictures a second."""
    enough = fewest = max(1, math.ceil(rate / runs.rate - 1e-9))
    while not aim.is_met(under(runs, rate / enough)):
        fewest, enough = enough + 1, 2 * enough
    while fewest < enough:
        middle = (fewest + enough) // 2
        if aim.is_met(under(runs, rate / middle)):
            enough = middle
        else:
            fewest = middle + 1
    return enough


def table(runs: Runs, rates: Sequence[float], aim: Aim) -> str:
    """Returns the sizing table in Markdown."""
    lines = [
        "| pictures/s | replicas | in use | pictures in a run | lanes busy | mean wait | 95 of 100 wait at most |",
        "|---|---|---|---|---|---|---|",
    ]
    for rate in rates:
        count = replicas(runs, rate, aim)
        load = under(runs, rate / count)
        waits = f"{_milliseconds(load.mean_wait)} | {_milliseconds(load.slow_wait)}"
        lines.append(f"| {rate:g} | {count} | {load.used:.2f} | {load.batch:.1f} | {load.busy:.2f} | {waits} |")
    return "\n".join(lines)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"
