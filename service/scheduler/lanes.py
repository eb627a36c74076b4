"""The shell around the policy: models' queues in front of lanes that they share."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from service.errors import NotReady
from service.scheduler.policy import Situation, fairest

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.scheduler.queueing import ModelQueue, Row

T = TypeVar("T")
R = TypeVar("R")

# A prepared batch is planned this long before the run ahead of it should end: time to copy its rows, not to go stale.
_LEAD = 0.002


@dataclass(frozen=True)
class _Batch(Generic[T, R]):
    """Rows of one model that run together, prepared for the lane."""

    queue: ModelQueue[T, R]
    rows: list[Row[T, R]]
    bucket: int
    prepared: Any  # the runner's own

    async def still_wanted(self, lane: int) -> _Batch[T, R] | None:
        """Return the batch without the rows whose callers have left since it was prepared."""
        rows = [row for row in self.rows if not row.answer.done()]
        if len(rows) == len(self.rows):
            return self
        self.queue.runner.discard(lane, self.prepared)
        self.queue.give_up([row for row in self.rows if row.answer.done()])
        return await _prepared(self.queue, lane, rows, self.queue.bucket(rows)) if rows else None


async def _prepared(queue: ModelQueue[T, R], lane: int, rows: list[Row[T, R]], bucket: int) -> _Batch[T, R]:
    return _Batch(queue, rows, bucket, await queue.runner.prepare(lane, [row.item for row in rows], bucket))


@dataclass(eq=False)
class _Lane:
    """Where one run goes on at a time; `until` is when it should end, `next` what was taken to run then."""

    index: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    until: float = 0.0
    next: list[Row[Any, Any]] = field(default_factory=list)


class Lanes(Generic[T, R]):
    """Runs what waits in the models' queues, fairly: the model that has used the least time of the lanes goes first.

    Nothing waits while a lane is free, unless a model asks for a delay. While a lane is busy, its next batch is
    prepared at the last moment, where the model's runner has something to prepare.
    """

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self._clock = clock
        self._lanes = [_Lane(index) for index in range(count)]
        self._queues: list[ModelQueue[T, R]] = []
        self._used = 0.0
        for lane in self._lanes:
            lane.idle.set()

    def add(self, queue: ModelQueue[T, R]) -> None:
        """Serve a model's queue too."""
        queue.used = self._used
        queue.lanes = self
        self._queues.append(queue)

    def remove(self, queue: ModelQueue[T, R]) -> None:
        """Serve a model's queue no more."""
        self._queues.remove(queue)

    def notify(self) -> None:
        """Look at the queues again: something has come."""
        for lane in self._lanes:
            lane.wake.set()

    def remaining(self) -> float:
        """Return the seconds that the runs under way still take, summed over the lanes."""
        now = self._clock()
        return sum(max(0.0, lane.until - now) for lane in self._lanes if not lane.idle.is_set())

    def other_work(self, queue: ModelQueue[T, R], own: float) -> float:
        """Return the seconds of other models' work that run before `own` seconds of this one's are done."""
        return sum(min(other.backlog, own) for other in self._queues if other is not queue)

    async def run(self) -> None:
        """Serve the queues until cancelled; raises EngineLost when an engine is beyond repair."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in self._lanes:
                    tasks.create_task(self._serve(lane))
        finally:
            error = NotReady("the server is going down; try another one")
            for queue in self._queues:
                queue.abandon(error)
            for row in chain.from_iterable(lane.next for lane in self._lanes):
                row.fail(error)

    async def _serve(self, lane: _Lane) -> None:
        async with asyncio.TaskGroup() as runs:
            while True:
                batch = await self._next(lane)
                await lane.idle.wait()
                still = await batch.still_wanted(lane.index)
                lane.next = []
                if still:
                    lane.idle.clear()
                    lane.until = self._clock() + still.queue.seconds(still.rows, still.bucket)
                    runs.create_task(self._run(lane, still))

    async def _next(self, lane: _Lane) -> _Batch[T, R]:
        """Wait until there is a batch for the lane, and prepare it."""
        while True:
            lane.wake.clear()
            taken = self._take(lane)
            if not isinstance(taken, float):
                return await _prepared(taken[0], lane.index, *taken[1:])
            await _sleep_until(lane.wake, taken)

    def _take(self, lane: _Lane) -> tuple[ModelQueue[T, R], list[Row[T, R]], int] | float:
        """Take the next rows and their bucket out of a queue, or tell how long there is no reason to look again."""
        now = self._clock()
        busy = not lane.idle.is_set()
        waiting = [queue for queue in self._queues if queue.depth and (queue.runner.prepares or not busy)]
        # A model that was idle has saved nothing up: it goes first now, and no more than that.
        self._used = max(self._used, min((queue.used for queue in waiting), default=self._used))
        wait = math.inf
        for position in fairest([queue.used for queue in waiting]):
            queue = waiting[position]
            free_in = max(_LEAD, lane.until - now) - _LEAD if busy else 0.0
            plan = queue.plan(Situation(now, self._free(lane), free_in, queue.running))
            if plan.batch:
                lane.next = rows = queue.take(plan.batch)
                queue.used = max(queue.used, self._used) + queue.seconds(rows, plan.bucket)
                return queue, rows, plan.bucket
            wait = min(wait, plan.wait)
        return wait

    def _free(self, lane: _Lane) -> int:
        """Count the lanes with nothing to do, this one among them in any case."""
        return 1 + sum(one.idle.is_set() and not one.next for one in self._lanes if one is not lane)

    async def _run(self, lane: _Lane, batch: _Batch[T, R]) -> None:
        await batch.queue.execute(lane.index, batch.rows, batch.bucket, batch.prepared)
        lane.idle.set()
        lane.wake.set()


async def _sleep_until(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, or for so many seconds."""
    if math.isinf(seconds):
        await event.wait()
        return
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
