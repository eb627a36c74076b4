from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from service.errors import DeadlineExceeded
from service.scheduler.batcher import Answer, Batcher
from service.scheduler.policy import Capacity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Engine:
    """Negates numbers; stands still until the gate is opened; fails on every 13 in a batch."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started = asyncio.Semaphore(0)
        self.runs: list[list[int]] = []
        self.now = 100.0

    async def infer(self, batch: Sequence[int]) -> list[int]:
        self.runs.append(list(batch))
        self.started.release()
        await self.gate.wait()
        self.now += 1.0
        if 13 in batch:
            raise ValueError("unlucky")
        return [-item for item in batch]


@asynccontextmanager
async def batching(engine: Engine, slots: int = 1, max_batch_size: int = 8) -> AsyncIterator[Batcher[int, int]]:
    batcher = Batcher(engine.infer, Capacity(slots, max_batch_size), clock=lambda: engine.now)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(batcher.run())
        yield batcher
        running.cancel()


async def submitted(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[Answer[int]]]:
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_single_item_runs_at_once_and_alone() -> None:
    engine = Engine()
    engine.gate.set()
    async with batching(engine) as batcher:
        answer = await batcher.submit(7)
    assert answer == Answer(result=-7, queue_seconds=0.0, infer_seconds=1.0, batch_size=1)


async def test_batch_forms_while_the_engine_is_busy() -> None:
    engine = Engine()
    async with batching(engine, max_batch_size=3) as batcher:
        first = await submitted(batcher, 0)
        await engine.started.acquire()
        rest = await submitted(batcher, 1, 2, 3, 4)
        engine.gate.set()
        answers = await asyncio.gather(*first, *rest)
    assert engine.runs == [[0], [1, 2, 3], [4]]
    assert [answer.result for answer in answers] == [0, -1, -2, -3, -4]
    assert [answer.batch_size for answer in answers] == [1, 3, 3, 3, 1]
    assert [answer.queue_seconds for answer in answers] == [0.0, 1.0, 1.0, 1.0, 2.0]


async def test_slots_run_at_the_same_time() -> None:
    engine = Engine()
    async with batching(engine, slots=2) as batcher:
        tasks = await submitted(batcher, 1, 2)
        await engine.started.acquire()
        await engine.started.acquire()
        assert engine.runs == [[1], [2]]
        engine.gate.set()
        await asyncio.gather(*tasks)


async def test_cancelled_caller_does_not_fail_its_batch_mates() -> None:
    engine = Engine()
    async with batching(engine) as batcher:
        tasks = await submitted(batcher, 1, 2, 3)
        await engine.started.acquire()
        assert engine.runs == [[1, 2, 3]]
        tasks[1].cancel()
        engine.gate.set()
        answers = await asyncio.gather(tasks[0], tasks[2])
        assert (await batcher.submit(4)).result == -4, "and the batcher goes on"
    assert [answer.result for answer in answers] == [-1, -3]
    assert tasks[1].cancelled()


async def test_cancelled_request_never_reaches_the_engine() -> None:
    engine = Engine()
    async with batching(engine) as batcher:
        busy = await submitted(batcher, 0)
        await engine.started.acquire()
        cancelled, kept = await submitted(batcher, 1, 2)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert batcher.depth == 1
        engine.gate.set()
        await asyncio.gather(*busy, kept)
    assert engine.runs == [[0], [2]]


async def test_request_cancelled_at_the_moment_of_its_turn_is_left_out() -> None:
    engine = Engine()
    async with batching(engine) as batcher:
        tasks = [asyncio.create_task(batcher.submit(item)) for item in (1, 2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        engine.gate.set()
        assert (await tasks[1]).result == -2
    assert engine.runs == [[2]]


async def test_expired_request_never_reaches_the_engine() -> None:
    engine = Engine()
    async with batching(engine) as batcher:
        busy = await submitted(batcher, 0)
        await engine.started.acquire()
        late = asyncio.create_task(batcher.submit(1, deadline=engine.now + 0.5))
        in_time = asyncio.create_task(batcher.submit(2, deadline=engine.now + 1.5))
        await asyncio.sleep(0)
        engine.gate.set()
        with pytest.raises(DeadlineExceeded):
            await late
        await asyncio.gather(*busy, in_time)
    assert engine.runs == [[0], [2]]


@pytest.mark.parametrize("items", [[13], [13, 1], [1, 2, 13, 4, 5], [13, 1, 2, 13, 3, 4, 13], [1, 2, 3, 4]])
async def test_failing_item_stands_alone(items: list[int]) -> None:
    engine = Engine()
    async with batching(engine) as batcher:
        await submitted(batcher, 0)
        await engine.started.acquire()
        tasks = await submitted(batcher, *items)
        engine.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert engine.runs[1] == items
    for item, outcome in zip(items, outcomes, strict=True):
        if item == 13:
            assert isinstance(outcome, ValueError)
        else:
            assert isinstance(outcome, Answer)
            assert outcome.result == -item


async def test_batcher_goes_on_after_a_failure() -> None:
    engine = Engine()
    engine.gate.set()
    async with batching(engine) as batcher:
        with pytest.raises(ValueError, match="unlucky"):
            await batcher.submit(13)
        assert (await batcher.submit(1)).result == -1


async def test_wrong_number_of_results_is_a_bug_and_ends_the_batcher() -> None:
    async def infer(batch: Sequence[int]) -> list[int]:
        return [*batch, 0]

    batcher = Batcher(infer, Capacity(1, 1))
    waiting = asyncio.create_task(batcher.submit(1))
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await batcher.run()
    waiting.cancel()


async def test_expected_wait_grows_with_what_is_in() -> None:
    engine = Engine()
    async with batching(engine, slots=2, max_batch_size=1) as batcher:
        assert batcher.expected_wait == 0.0
        engine.gate.set()
        await batcher.submit(1)
        engine.gate.clear()
        tasks = await submitted(batcher, 1, 2, 3, 4)
        await engine.started.acquire()
        assert batcher.expected_wait == pytest.approx(4 * 1.0 / 2)
        engine.gate.set()
        await asyncio.gather(*tasks)
        assert batcher.expected_wait == 0.0
