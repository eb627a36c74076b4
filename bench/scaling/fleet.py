"""Replicas behind a balancer, in steps of half a second: who waits how long, and who is refused.

A fluid model: each replica works off its queue at the rate that its costs allow, gets an equal share of the calls, and
refuses what could not be answered by its deadline, as the service does. Chance is in the arrivals, which are Poisson's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.scaling.costs import Costs

STEP = 0.5


@dataclass
class Replica:
    """One replica, and the pictures that wait in it."""

    ready_at: float
    waiting: float = 0.0


@dataclass(frozen=True)
class Moment:
    """What became of the calls of one step; `late` waited longer than the aim, `wait` is the mean of those answered."""

    now: float
    offered: int
    refused: float
    late: float
    busy_seconds: float
    wait: float
    ready: int
    replicas: int


@dataclass
class Fleet:
    """Replicas that come `start` seconds after they were asked for, and go when they have nothing left to do."""

    costs: Costs
    start: float
    deadline: float
    aim: float
    rng: np.random.Generator
    replicas: list[Replica] = field(default_factory=list)
    leaving: list[Replica] = field(default_factory=list)

    def scale(self, now: float, count: int) -> None:
        """Brings the number of replicas to `count`; the youngest go first, once they have answered what waits."""
        while len(self.replicas) < count:
            self.replicas.append(Replica(now + self.start))
        while len(self.replicas) > count:
            self.leaving.append(self.replicas.pop())
        self.leaving = [replica for replica in self.leaving if replica.waiting > 0]

    def step(self, now: float, rate: float) -> Moment:
        """Lets a step's calls come and the replicas work; `rate` is calls per second."""
        ready = [replica for replica in self.replicas if replica.ready_at <= now]
        offered = int(self.rng.poisson(rate * STEP))
        taken = late = waited = 0.0
        shares = self.rng.multinomial(offered, np.full(len(ready), 1 / len(ready))) if ready else np.zeros(0)
        for replica, share in zip(ready, shares, strict=True):
            # What is left of the steps before: calls of one step come throughout it, and not all at its beginning.
            wait = replica.waiting / self.costs.rate
            admitted = self._admit(replica, int(share))
            taken += admitted
            waited += admitted * wait
            late += admitted * (wait > self.aim)
        busy = sum(self._work(replica) for replica in (*ready, *self.leaving))
        mean = waited / taken if taken else 0.0
        return Moment(now, offered, offered - taken, late, busy, mean, len(ready), len(self.replicas))

    def _admit(self, replica: Replica, calls: int) -> float:
        """Takes what can be answered in time and returns how much that is; what is done within the step has room."""
        room = (self.deadline - self.costs.run + STEP) * self.costs.rate - replica.waiting
        taken = min(float(calls), max(0.0, room))
        replica.waiting += taken
        return taken

    def _work(self, replica: Replica) -> float:
        """Works for a step; returns the seconds that lanes were busy."""
        done = min(replica.waiting, self.costs.rate * STEP)
        replica.waiting -= done
        return done / self.costs.rate * self.costs.lanes
