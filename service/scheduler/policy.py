"""What runs next: pure functions of the queue, the clock and the costs."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from service.scheduler.kind import USUAL, Kind

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

    def seconds(self, size: int, kind: Kind = USUAL) -> float:
        """Return the seconds that a run of `size` rows of a kind takes."""


@dataclass(frozen=True)
class Rules:
    """How one model's rows are put together.

    A run has rows of one kind, and one of the sizes in `buckets` (ascending); a free lane waits up to `max_queue_delay`
    seconds for the largest to fill up. After `ageing` seconds of waiting a row rises one class.
    """

    buckets: tuple[int, ...] = (1,)
    max_queue_delay: float = 0.0
    ageing: float = 5.0

    def sizes(self, kind: Kind = USUAL) -> tuple[int, ...]:
        """Return the sizes that a run of a kind may have: of large rows none needs more room than the largest bucket.

        One by one they always run.
        """
        if kind.scale <= 1:
            return self.buckets
        return tuple(size for size in self.buckets if size * kind.scale <= self.buckets[-1]) or (1,)

    def bucket(self, rows: int, kind: Kind = USUAL) -> int:
        """Return the smallest bucket that takes `rows` of a kind, or the largest there is."""
        sizes = self.sizes(kind)
        return next((size for size in sizes if size >= rows), sizes[-1])


@dataclass(frozen=True)
class Entry:
    """A row that waits. Times are on one clock, in seconds.

    It is `due` by its deadline, or sooner where that is distant. A picture of several rows is their `owner`, 0 for one
    that has no other rows. Only rows of one `kind` run together.
    """

    priority: Priority
    deadline: float
    arrived: float
    due: float
    owner: int = 0
    kind: Kind = USUAL


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

    A lane takes no more than its share of the queue: two halves on two free lanes are done before one whole. The row
    whose turn it is decides of which kind the rows are.
    """
    late = _too_late(queue, costs, rules, situation.now)
    dropped = set(late)
    alive = [position for position in range(len(queue)) if position not in dropped]
    if not alive:
        return Plan(late=late)
    if rules.max_queue_delay or situation.free_in:
        wait = _worth_waiting([queue[position] for position in alive], costs, rules, situation)
        if wait > 0:
            return Plan(late=late, wait=wait)
    share = min(math.ceil(len(alive) / situation.lanes), rules.buckets[-1])
    several = len({queue[position].kind for position in alive}) > 1
    first = order(queue, alive, rules, situation, len(alive) if several else share)
    kind = queue[first[0]].kind
    limits = [queue[position].deadline for position in first]
    if several:
        first, limits = _of_one_kind(queue, first, costs, rules, situation.now)
    limits = limits[: min(share, rules.sizes(kind)[-1])]
    rows, bucket = _size(limits, kind, costs, rules, situation.now)
    return Plan(tuple(first[:rows]), bucket, late, wait=0.0)


def order(queue: Sequence[Entry], alive: Sequence[int], rules: Rules, situation: Situation, count: int) -> list[int]:
    """Return the first positions in the order of their turn: by the class that a row has risen to, then earliest due.

    Of an owner with several rows, in the queue or running, the second stands behind the first rows of all others in its
    class, the third behind their second, and so on: no picture crowds out another by being large.
    """
    now, ageing = situation.now, rules.ageing
    ranks = [
        # As in _class: a call for every row would be felt where hundreds wait.
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


def _class(entry: Entry, now: float, ageing: float) -> int:
    """Return the class that a row has risen to."""
    return max(0, entry.priority - int((now - entry.arrived) / ageing))


def _of_one_kind(
    queue: Sequence[Entry], turn: Sequence[int], costs: Costs, rules: Rules, now: float
) -> tuple[list[int], list[float]]:
    """Return the rows that may run with the first one, and by when a run must end to have each of them in it.

    They are of its kind. One that goes before rows of other kinds whose turn would be earlier must be of their class,
    and leave them the time to run next.
    """
    kind = queue[turn[0]].kind
    taken, limits = [], []
    highest, latest = math.inf, math.inf
    for position in turn:
        entry = queue[position]
        if entry.kind != kind:
            highest = min(highest, _class(entry, now, rules.ageing))
            latest = min(latest, entry.deadline - costs.seconds(rules.sizes(entry.kind)[0], entry.kind))
        elif _class(entry, now, rules.ageing) <= highest:
            taken.append(position)
            limits.append(min(entry.deadline, latest))
    return taken, limits


def _too_late(queue: Sequence[Entry], costs: Costs, rules: Rules, now: float) -> tuple[int, ...]:
    """Return what would not be done by its deadline even if it ran now.

    A row that waits alone is given the benefit of the doubt, so that costs that were learned too high are learned anew.
    """
    if len(queue) == 1:
        return (0,) if queue[0].deadline <= now else ()
    latest = {kind: now + costs.seconds(rules.sizes(kind)[0], kind) for kind in {entry.kind for entry in queue}}
    if len(latest) == 1:
        (alike,) = latest.values()
        return tuple(position for position, entry in enumerate(queue) if entry.deadline <= alike)
    return tuple(position for position, entry in enumerate(queue) if entry.deadline <= latest[entry.kind])


def _worth_waiting(alive: Sequence[Entry], costs: Costs, rules: Rules, situation: Situation) -> float:
    """Return for how long more rows may still come without anyone losing by it: while the lane is busy, or delayed."""
    counts = Counter(entry.kind for entry in alive)
    full = sum(count // rules.sizes(kind)[-1] for kind, count in counts.items())
    if full >= situation.lanes:
        return 0.0
    delay = min(entry.arrived for entry in alive) + rules.max_queue_delay - situation.now
    earliest = min(entry.deadline for entry in alive)
    seconds = sum(costs.seconds(rules.bucket(count, kind), kind) for kind, count in counts.items())
    return max(situation.free_in, min(delay, earliest - seconds - situation.now))


def _size(limits: Sequence[float], kind: Kind, costs: Costs, rules: Rules, now: float) -> tuple[int, int]:
    """Return how many of the first rows run, and in which bucket: most rows a second that end within their limits."""
    best = (0, 0)
    best_rate = 0.0
    earliest = math.inf
    taken = 0
    for bucket in rules.sizes(kind):
        rows = min(bucket, len(limits))
        earliest = min([earliest, *limits[taken:rows]])
        taken = rows
        seconds = costs.seconds(bucket, kind)
        rate = rows / max(seconds, 1e-9)
        if not best_rate or (rate > best_rate * _WORTH and now + seconds <= earliest):
            best, best_rate = (rows, bucket), rate
        if bucket >= len(limits):
            break
    return best


def fairest(used: Sequence[float]) -> list[int]:
    """Return the positions of models in the order of their turn: who has used the engine least goes first."""
    return sorted(range(len(used)), key=used.__getitem__)
