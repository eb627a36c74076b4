"""Which of the waiting requests run next: a pure function of the queue, the clock and the engine's capacity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Capacity:
    """How many runs an engine does at once (`slots`), and how many items it takes in one run; both at least 1."""

    slots: int
    max_batch_size: int


@dataclass(frozen=True)
class Plan:
    """Positions in the queue: what a free slot runs now, and what is too late to run at all."""

    batch: tuple[int, ...]
    expired: tuple[int, ...]


def plan(deadlines: Sequence[float], now: float, capacity: Capacity) -> Plan:
    """Plan the next run of one free slot; the queue is given by its deadlines, first come first.

    A slot never waits for a batch to fill up, and it takes no more than its share of the queue: the other slots are
    free now or soon, and two halves at once are done before one whole.
    """
    expired = tuple(position for position, deadline in enumerate(deadlines) if deadline <= now)
    alive = [position for position, deadline in enumerate(deadlines) if deadline > now]
    share = math.ceil(len(alive) / capacity.slots)
    return Plan(tuple(alive[: min(share, capacity.max_batch_size)]), expired)
