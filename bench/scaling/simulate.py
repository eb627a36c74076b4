"""A fleet under a load, scaled by a signal as Kubernetes would: replicas, waiting, and calls that missed their aim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.scaling.autoscaler import SYNC_SECONDS, Autoscaler, wanted
from bench.scaling.fleet import STEP, Fleet, Replica
from bench.scaling.signals import Scraped

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.scaling.autoscaler import Behaviour
    from bench.scaling.costs import Costs
    from bench.scaling.fleet import Moment
    from bench.scaling.signals import Signal


@dataclass(frozen=True)
class World:
    """What holds for all that are compared: seconds to a new replica, the callers' deadline, and the queue's aim."""

    costs: Costs
    start: float
    deadline: float
    aim: float
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """What a fleet went through."""

    name: str
    moments: list[Moment]

    @property
    def missed(self) -> float:
        """The share of calls that were refused, or waited longer than the aim."""
        offered = sum(moment.offered for moment in self.moments)
        return sum(moment.refused + moment.late for moment in self.moments) / offered if offered else 0.0

    @property
    def refused_calls(self) -> float:
        """Calls that were refused."""
        return sum(moment.refused for moment in self.moments)

    @property
    def replica_hours(self) -> float:
        """What it cost."""
        return sum(moment.replicas for moment in self.moments) * STEP / 3600

    @property
    def changes(self) -> int:
        """How often the number of replicas changed."""
        return int(np.count_nonzero(np.diff([moment.replicas for moment in self.moments])))


def run(
    name: str,
    world: World,
    behaviour: Behaviour,
    signal: Signal | None,
    *,
    rate: Callable[[float], float],
    seconds: float,
) -> Run:
    """Lets a fleet live for so many seconds; without a signal it keeps its least number of replicas."""
    fleet = Fleet(world.costs, world.start, world.deadline, world.aim, np.random.default_rng(world.seed))
    fleet.replicas = [Replica(0.0) for _ in range(behaviour.least)]
    scraped, autoscaler = Scraped(world.costs), Autoscaler(behaviour)
    for number in range(round(seconds / STEP)):
        now = number * STEP
        if signal and number and now % SYNC_SECONDS == 0:
            replicas = len(fleet.replicas)
            total = signal.total(scraped, now)
            recommendation = replicas if total is None else wanted(total, signal.target, replicas)
            fleet.scale(now, autoscaler.decide(now, replicas, recommendation))
        scraped.moments.append(fleet.step(now, rate(now)))
    return Run(name, scraped.moments)
