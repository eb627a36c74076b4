"""The shell around the policy: a queue in front of an engine with several slots."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from service.errors import DeadlineExceeded
from service.scheduler.policy import Capacity, plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

# Weight of the latest run in the running mean of seconds per item.
_FRESHNESS = 0.2


@dataclass(frozen=True)
class Answer(Generic[R]):
    """What became of one item, how long it waited and ran (seconds), and how many items ran with it."""

    result: R
    queue_seconds: float
    infer_seconds: float
    batch_size: int


@dataclass(eq=False)
class _Waiting(Generic[T, R]):
    """One caller's item; each has a future of its own, so that no caller can harm another."""

    item: T
    deadline: float
    arrived: float
    answer: asyncio.Future[Answer[R]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[T, R]):
    """Puts what is submitted through `infer`, in batches, whenever one of the engine's slots is free.

    `infer` gives one result per item, in their order. When it raises, the batch is split until the item that made it
    fail stands alone; that caller gets the exception, the others their results. Cancelling a `submit` takes its item
    out of the queue. `clock` tells the seconds in which deadlines are given.
    """

    def __init__(
        self,
        infer: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        capacity: Capacity,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._infer = infer
        self._capacity = capacity
        self._clock = clock
        self._queue: dict[_Waiting[T, R], None] = {}
        self._arrival = asyncio.Event()
        self._running = 0
        self._seconds_per_item = 0.0

    @property
    def depth(self) -> int:
        """Items that wait for a slot."""
        return len(self._queue)

    @property
    def expected_wait(self) -> float:
        """Seconds until all that is in now will be done, judged by the latest runs."""
        return (self.depth + self._running) * self._seconds_per_item / self._capacity.slots

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        async with asyncio.TaskGroup() as slots:
            for _ in range(self._capacity.slots):
                slots.create_task(self._serve_slot())

    async def submit(self, item: T, deadline: float = math.inf) -> Answer[R]:
        """Wait for the item's turn and return its answer.

        Raises DeadlineExceeded when the turn does not come before `deadline`, and what `infer` raised for this item.
        """
        waiting: _Waiting[T, R] = _Waiting(item, deadline, self._clock())
        self._queue[waiting] = None
        self._arrival.set()
        try:
            return await waiting.answer
        finally:
            self._queue.pop(waiting, None)

    async def _serve_slot(self) -> None:
        while True:
            await self._arrival.wait()
            if batch := self._take():
                self._running += len(batch)
                try:
                    await self._run(batch)
                finally:
                    self._running -= len(batch)

    def _take(self) -> list[_Waiting[T, R]]:
        """Take the next batch out of the queue, and with it all that need not run any more."""
        queue = _wanted(self._queue)
        chosen = plan([waiting.deadline for waiting in queue], self._clock(), self._capacity)
        for position in chosen.expired:
            queue[position].answer.set_exception(DeadlineExceeded("the deadline passed before the engine was free"))
        batch = [queue[position] for position in chosen.batch]
        self._queue = dict.fromkeys(waiting for waiting in _wanted(queue) if waiting not in batch)
        if not self._queue:
            self._arrival.clear()
        return batch

    async def _run(self, batch: list[_Waiting[T, R]]) -> None:
        started = self._clock()
        try:
            results = await self._infer([waiting.item for waiting in batch])
        except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to the caller whose item caused it)
            await self._isolate(batch, error)
            return
        seconds = self._clock() - started
        self._learn(seconds / len(batch))
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(Answer(result, started - waiting.arrived, seconds, len(batch)))

    async def _isolate(self, batch: list[_Waiting[T, R]], error: Exception) -> None:
        """Run the halves of a failed batch apart; a single item keeps its error."""
        if len(batch) == 1:
            if not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if wanted := _wanted(half):
                await self._run(wanted)

    def _learn(self, seconds_per_item: float) -> None:
        known = self._seconds_per_item
        self._seconds_per_item = known + _FRESHNESS * (seconds_per_item - known) if known else seconds_per_item


def _wanted(queue: Sequence[_Waiting[T, R]] | dict[_Waiting[T, R], None]) -> list[_Waiting[T, R]]:
    """Return those whose callers still wait."""
    return [waiting for waiting in queue if not waiting.answer.done()]
