"""What an autoscaler is told: the measures of the chart's PromQL, and CPU use, over what a fleet went through.

A measure is a sum over replicas whose target holds for each, as in an HPA's AverageValue. Prometheus knows counters as
of its last scrape only, and rates over a window; the same holds here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bench.scaling.fleet import STEP

if TYPE_CHECKING:
    from bench.scaling.costs import Costs
    from bench.scaling.fleet import Moment

SCRAPE_SECONDS = 15.0
RATE_SECONDS = 60.0
CPU_SECONDS = 30.0  # metrics-server: the mean over its own window, twice its 15 s resolution


@dataclass
class Scraped:
    """The moments of a fleet, to be looked back at."""

    costs: Costs
    moments: list[Moment] = field(default_factory=list)

    def last(self, now: float, seconds: float) -> list[Moment]:
        """Returns the moments of a window that ended with the last scrape."""
        end = now // SCRAPE_SECONDS * SCRAPE_SECONDS
        stop = round(end / STEP)
        return self.moments[max(0, stop - round(seconds / STEP)) : stop]


class Signal(Protocol):
    """A measure and the target for each replica."""

    @property
    def target(self) -> float:
        """How much of the measure each replica may have."""

    def total(self, scraped: Scraped, now: float) -> float | None:
        """Returns the sum over all replicas; None where nobody can say yet."""


@dataclass(frozen=True)
class Demand:
    """Lanes that the calls need, as shares of a replica: busy ones, and those that the refused would have needed."""

    target: float

    def total(self, scraped: Scraped, now: float) -> float | None:
        """Returns replicas' worth of work that comes in."""
        window = scraped.last(now, RATE_SECONDS)
        if not window:
            return None
        seconds = len(window) * STEP
        busy = sum(moment.busy_seconds for moment in window) / seconds
        refused = sum(moment.refused for moment in window) / seconds
        return busy / scraped.costs.lanes + refused / scraped.costs.rate


@dataclass(frozen=True)
class Busy:
    """The share of lanes that are busy, which never says more than that all of them are."""

    target: float

    def total(self, scraped: Scraped, now: float) -> float | None:
        """Returns the sum of the replicas' shares."""
        window = scraped.last(now, RATE_SECONDS)
        return (
            sum(moment.busy_seconds for moment in window) / (len(window) * STEP) / scraped.costs.lanes
            if window
            else None
        )


@dataclass(frozen=True)
class Cpu:
    """CPU use as a share of the cores that a replica asks for, of which it uses `used` while all its lanes are busy."""

    target: float
    used: float
    asked: float

    def total(self, scraped: Scraped, now: float) -> float | None:
        """Returns the sum of the replicas' shares."""
        window = scraped.last(now, CPU_SECONDS)
        if not window:
            return None
        busy = sum(moment.busy_seconds for moment in window) / (len(window) * STEP) / scraped.costs.lanes
        return busy * self.used / self.asked


def queue_p95(moments: list[Moment]) -> float:
    """Returns the seconds that calls waited at most, on average over replicas, in 95 of 100 cases."""
    waits = np.array([moment.wait for moment in moments])
    answered = np.array([moment.offered - moment.refused for moment in moments])
    order = np.argsort(waits)
    reached = list(accumulate(answered[order]))
    if not reached or not reached[-1]:
        return 0.0
    return float(waits[order][np.searchsorted(reached, 0.95 * reached[-1])])
