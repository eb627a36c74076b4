"""What runs next: pure functions of the queue, the clock and the costs."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.scheduler.priority import Priority

# Larger batches must bring at least this much more rows a second: a smaller one is done sooner.
_WORTH = 1.02
# A request without a deadline, or with a distant one, is due this many times the ageing after it came: it then stands
# in the first class, and goes before whatever came later.
PATIENCE = 3


class Costs(Protocol):
    """What a run costs."""

    def seconds(self, size: int) -> float:
        """Return the seconds that a run of `size` rows takes."""


@dataclass(frozen=True)
class Rules:
    """How one model's rows are put together.

    A run has one of the sizes in `buckets` (ascending); a free lane waits up to `max_queue_delay` seconds for the
    largest to fill up. After `ageing` seconds of waiting a row rises one class.
    """

    buckets: tuple[int, ...] = (1,)
    max_queue_delay: float = 0.0
    ageing: float = 5.0

    def bucket(self, rows: int) -> int:
        """Return the smallest bucket that takes `rows`, or the largest there is."""
        return next((size for size in self.buckets if size >= rows), self.buckets[-1])


@dataclass(frozen=True)
class Entry:
    """A row that waits. Times are on one clock, in seconds.

    It is `due` by its deadline, or sooner where that is distant. A picture of several rows is their `owner`, 0 for one
    that has no other rows.
    """

    priority: Priority
    deadline: float
    arrived: float
    due: float
    owner: int = 0


@dataclass(frozen=True)
class Situation:
    """What the plan depends on besides the queue.

    `lanes` have nothing to do; this one, one of them, is free in `free_in` seconds. `running` counts the rows of each
    owner that run already.
    """

    now: float
    lanes: int = 1
    free_in: float = 0.0
    running: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Positions in the queue: what runs now, in a run of size `bucket`, and what is too late to run at all.

    Where nothing runs, `wait` is for how many seconds there is no reason to plan anew unless a row comes.
    """

    batch: tuple[int, ...] = ()
    bucket: int = 0
    late: tuple[int, ...] = ()
    wait: float = math.inf


def plan(queue: Sequence[Entry], costs: Costs, rules: Rules, situation: Situation) -> Plan:
    """Plan the next run of one lane; the queue is given first come first.

    A lane takes no more than its share of the queue: two halves on two free lanes are done before one whole.
    """
    late = _too_late(queue, costs, rules, situation.now)
    dropped = set(late)
    alive = [position for position in range(len(queue)) if position not in dropped]
    if not alive:
        return Plan(late=late)
    wait = _worth_waiting([queue[position] for position in alive], costs, rules, situation)
    if wait > 0:
        return Plan(late=late, wait=wait)
    share = min(math.ceil(len(alive) / situation.lanes), rules.buckets[-1])
    first = order(queue, alive, rules, situation, share)
    rows, bucket = _size([queue[position] for position in first], costs, rules, situation.now)
    return Plan(tuple(first[:rows]), bucket, late, wait=0.0)


def order(queue: Sequence[Entry], alive: Sequence[int], rules: Rules, situation: Situation, count: int) -> list[int]:
    """Return the first positions in the order of their turn: by the class that a row has risen to, then earliest due.

    Of an owner with several rows, in the queue or running, the second stands behind the first rows of all others in its
    class, the third behind their second, and so on: no picture crowds out another by being large.
    """
    now, ageing = situation.now, rules.ageing
    ranks = [
        (max(0, entry.priority - int((now - entry.arrived) / ageing)), entry.due, position)
        for position in alive
        for entry in (queue[position],)
    ]
    if any(queue[position].owner for position in alive):
        seen = Counter(situation.running)
        rounds = []
        for rank, due, position in sorted(ranks):
            owner = queue[position].owner
            rounds.append((rank, seen[owner] if owner else 0, due, position))
            seen[owner] += 1
        return [position for *_, position in heapq.nsmallest(count, rounds)]
    return [position for *_, position in heapq.nsmallest(count, ranks)]


def _too_late(queue: Sequence[Entry], costs: Costs, rules: Rules, now: float) -> tuple[int, ...]:
    """Return what would not be done by its deadline even if it ran now.

    A row that waits alone is given the benefit of the doubt, so that costs that were learned too high are learned anew.
    """
    margin = costs.seconds(rules.buckets[0]) if len(queue) > 1 else 0.0
    return tuple(position for position, entry in enumerate(queue) if entry.deadline <= now + margin)


def _worth_waiting(alive: Sequence[Entry], costs: Costs, rules: Rules, situation: Situation) -> float:
    """Return for how long more rows may still come without anyone losing by it: while the lane is busy, or delayed."""
    largest = rules.buckets[-1]
    if len(alive) >= largest * situation.lanes or not (rules.max_queue_delay or situation.free_in):
        return 0.0
    delay = min(entry.arrived for entry in alive) + rules.max_queue_delay - situation.now
    earliest = min(entry.deadline for entry in alive)
    slack = earliest - costs.seconds(rules.bucket(len(alive))) - situation.now
    return max(situation.free_in, min(delay, slack))


def _size(ordered: Sequence[Entry], costs: Costs, rules: Rules, now: float) -> tuple[int, int]:
    """Return how many of the first rows run, and in which bucket: most rows a second that keep the deadlines."""
    best = (0, 0)
    best_rate = 0.0
    earliest = math.inf
    taken = 0
    for bucket in rules.buckets:
        rows = min(bucket, len(ordered))
        earliest = min([earliest, *(entry.deadline for entry in ordered[taken:rows])])
        taken = rows
        seconds = costs.seconds(bucket)
        rate = rows / max(seconds, 1e-9)
        if not best_rate or (rate > best_rate * _WORTH and now + seconds <= earliest):
            best, best_rate = (rows, bucket), rate
        if bucket >= len(ordered):
            break
    return best


def fairest(used: Sequence[float]) -> list[int]:
    """Return the positions of models in the order of their turn: who has used the engine least goes first."""
    return sorted(range(len(used)), key=used.__getitem__)
