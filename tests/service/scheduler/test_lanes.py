from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from service.errors import (
    DeadlineExceeded,
    EngineBroken,
    EngineLost,
    InferenceFailed,
    NotReady,
    QueueFull,
)
from service.scheduler.admission import Admission, Bounds, House, Ticket, Wish
from service.scheduler.cost import CostModel
from service.scheduler.kind import USUAL, Kind
from service.scheduler.lanes import Lanes
from service.scheduler.policy import Rules
from service.scheduler.priority import Priority
from service.scheduler.queueing import Answer, ModelQueue

UNLUCKY, POISON = 13, 666
# Items from 500 on are of another kind.
LARGE = Kind((2,), 2.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """Negates numbers; stands still until the gate is opened; fails on 13, and breaks on 666 and while `broken`."""

    def __init__(self, clock: Clock, *, prepares: bool = False) -> None:
        self.prepares = prepares
        self.clock = clock
        self.gate = asyncio.Event()
        self.started = asyncio.Semaphore(0)
        self.ready = asyncio.Semaphore(0)
        self.runs: list[list[int]] = []
        self.prepared: list[list[int]] = []
        self.discarded: list[list[int]] = []
        self.lanes: list[int] = []
        self.broken = 0
        self.repairs = 0
        self.beyond_repair = False

    async def prepare(self, lane: int, rows: Sequence[int], bucket: int) -> list[int]:  # noqa: ARG002
        self.prepared.append(list(rows))
        self.ready.release()
        return list(rows)

    def discard(self, lane: int, prepared: list[int]) -> None:  # noqa: ARG002
        self.discarded.append(prepared)

    async def run(self, lane: int, prepared: list[int]) -> list[int]:
        self.runs.append(prepared)
        self.lanes.append(lane)
        self.started.release()
        await self.gate.wait()
        self.clock.now += 1.0
        if POISON in prepared or self.broken > 0:
            self.broken -= 1
            raise EngineBroken("broken")
        if UNLUCKY in prepared:
            raise InferenceFailed("unlucky")
        return [-item for item in prepared]

    async def repair(self, lane: int) -> None:  # noqa: ARG002
        self.repairs += 1
        if self.beyond_repair:
            raise EngineLost("beyond repair")


class Seen:
    """What a queue tells."""

    def __init__(self) -> None:
        self.why: list[str] = []
        self.changes = 0

    def left(self, why: str) -> None:
        self.why.append(why)

    def changed(self) -> None:
        self.changes += 1

    def learned(self, costs: CostModel) -> None: ...

    def worked(self, seconds: float) -> None: ...


class Model:
    """One model's door, queue and engine."""

    def __init__(
        self, lanes: Lanes[int, int], house: House, clock: Clock, *, prepares: bool = False, **rules: object
    ) -> None:
        self.engine = Engine(clock, prepares=prepares)
        self.seen = Seen()
        costs = CostModel({1: 1.0, 8: 1.7})
        rule = Rules(**{"buckets": tuple(range(1, 9)), **rules})  # type: ignore[arg-type]
        self.queue: ModelQueue[int, int] = ModelQueue(
            self.engine, costs, rule, self.seen, clock, kind_of=lambda item: LARGE if item >= 500 else USUAL
        )
        lanes.add(self.queue)
        self.door = Admission(Bounds(100, 10**6), house, self.queue, patience=15.0, clock=clock)

    async def translate(
        self, item: int, deadline: float = math.inf, priority: Priority = Priority.NORMAL
    ) -> Answer[int]:
        with self.door.admit(Wish(1, deadline=deadline, priority=priority)) as ticket:
            return await self.queue.submit(item, ticket)

    async def submitted(self, *items: int, **wish: object) -> list[asyncio.Task[Answer[int]]]:
        tasks = [asyncio.create_task(self.translate(item, **wish)) for item in items]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return tasks


@asynccontextmanager
async def models(
    count: int = 1, lanes: int = 1, house: House | None = None, **options: object
) -> AsyncIterator[list[Model]]:
    clock = Clock()
    shared: Lanes[int, int] = Lanes(lanes, clock)
    house = house or House(Bounds(1000, 10**6))
    made = [Model(shared, house, clock, **options) for _ in range(count)]  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(shared.run())
        yield made
        running.cancel()


async def results(tasks: list[asyncio.Task[Answer[int]]]) -> list[object]:
    return [
        answer.result if isinstance(answer, Answer) else type(answer)
        for answer in await asyncio.gather(*tasks, return_exceptions=True)
    ]


async def test_single_row_runs_at_once_and_alone() -> None:
    async with models() as [model]:
        model.engine.gate.set()
        answer = await model.translate(7)
    assert answer == Answer(result=-7, queue_seconds=0.0, infer_seconds=1.0, batch_size=1)


async def test_batch_forms_while_the_engine_is_busy() -> None:
    async with models() as [model]:
        first = await model.submitted(1)
        await model.engine.started.acquire()
        others = await model.submitted(2, 3, 4)
        assert model.queue.depth == 3
        model.engine.gate.set()
        assert await results([*first, *others]) == [-1, -2, -3, -4]
        assert model.engine.runs == [[1], [2, 3, 4]]


async def test_every_lane_runs_its_share() -> None:
    async with models(lanes=2) as [model]:
        tasks = await model.submitted(1, 2, 3, 4)
        await model.engine.started.acquire()
        await model.engine.started.acquire()
        assert (sorted(model.engine.runs), sorted(model.engine.lanes)) == ([[1, 2], [3, 4]], [0, 1])
        model.engine.gate.set()
        assert await results(tasks) == [-1, -2, -3, -4]


async def test_higher_class_goes_first() -> None:
    async with models(buckets=(1,)) as [model]:
        first = await model.submitted(1)
        await model.engine.started.acquire()
        low = await model.submitted(2, priority=Priority.LOW)
        high = await model.submitted(3, priority=Priority.HIGH)
        model.engine.gate.set()
        await results([*first, *low, *high])
        assert model.engine.runs == [[1], [3], [2]]


async def test_picture_of_many_rows_does_not_rise_above_others_by_taking_long() -> None:
    async with models(buckets=(1,), ageing=5.0) as [model]:
        model.engine.gate.set()
        in_hand = asyncio.Semaphore(2)

        async def tile(item: int, ticket: Ticket) -> None:
            async with in_hand:
                await model.queue.submit(item, ticket)

        with model.door.admit(Wish(1, rows=40)) as ticket:
            async with asyncio.TaskGroup() as tiles:
                for item in range(100, 140):
                    tiles.create_task(tile(item, ticket))
                for _ in range(10):  # of a second each
                    await model.engine.started.acquire()
                await results(await model.submitted(1000))
        assert model.engine.runs.index([1000]) <= 12


async def test_cancelled_caller_never_reaches_the_engine_nor_harms_others() -> None:
    async with models() as [model]:
        first = await model.submitted(1)
        await model.engine.started.acquire()
        others = await model.submitted(2, 3, 4)
        others[1].cancel()
        await asyncio.wait([others[1]])
        assert (model.queue.depth, model.seen.why, model.door.requests) == (2, ["cancelled"], 3)
        model.engine.gate.set()
        assert await results([*first, *others]) == [-1, -2, asyncio.CancelledError, -4]
        assert model.engine.runs == [[1], [2, 4]]


async def test_caller_who_leaves_during_the_run_harms_no_one() -> None:
    async with models() as [model]:
        tasks = await model.submitted(1, 2)
        await model.engine.started.acquire()
        tasks[0].cancel()
        model.engine.gate.set()
        assert await results(tasks) == [asyncio.CancelledError, -2]
        assert await results(await model.submitted(3)) == [-3]


async def test_row_that_is_too_late_never_reaches_the_engine() -> None:
    async with models() as [model]:
        first = await model.submitted(1)
        await model.engine.started.acquire()
        late = await model.submitted(2, deadline=102.5)
        others = await model.submitted(3)
        model.engine.clock.now = 103.0
        model.engine.gate.set()
        assert await results([*first, *late, *others]) == [-1, DeadlineExceeded, -3]
        assert (model.engine.runs, model.seen.why) == ([[1], [3]], ["expired"])


async def test_row_that_fails_fails_alone() -> None:
    async with models() as [model]:
        model.engine.gate.set()
        tasks = await model.submitted(1, 2, UNLUCKY, 4, 5)
        assert await results(tasks) == [-1, -2, InferenceFailed, -4, -5]


async def test_broken_engine_is_mended_and_no_caller_hears_of_it() -> None:
    async with models() as [model]:
        model.engine.broken = 1
        model.engine.gate.set()
        assert await results(await model.submitted(1, 2)) == [-1, -2]
        assert model.engine.repairs == 1


async def test_row_that_breaks_the_engine_again_and_again_fails_alone() -> None:
    async with models() as [model]:
        model.engine.gate.set()
        assert await results(await model.submitted(1, POISON, 3)) == [-1, EngineBroken, -3]


async def test_engine_beyond_repair_ends_the_server_and_leaves_nobody_waiting() -> None:
    tasks: list[asyncio.Task[Answer[int]]] = []
    with pytest.RaisesGroup(EngineLost, flatten_subgroups=True):
        async with models(buckets=(1,)) as [model]:
            model.engine.beyond_repair = True
            tasks += await model.submitted(POISON, 2)
            model.engine.gate.set()
            await asyncio.wait(tasks)
            await asyncio.Event().wait()
    assert await results(tasks) == [InferenceFailed, NotReady]


async def test_model_that_comes_late_waits_for_one_run_and_no_backlog() -> None:
    async with models(2, buckets=(1,)) as [flooded, other]:
        flood = await flooded.submitted(*range(1, 9))
        await flooded.engine.started.acquire()
        one = await other.submitted(1)
        other.engine.gate.set()
        flooded.engine.gate.set()
        await asyncio.wait(one)
        assert len(flooded.engine.runs) <= 2
        await asyncio.wait(flood)


async def test_models_share_the_engine_by_turns() -> None:
    async with models(2, buckets=(1,)) as [one, other]:
        order: list[int] = []
        first = await one.submitted(*[1] * 6)
        await one.engine.started.acquire()
        second = await other.submitted(*[2] * 6)
        for task in [*first, *second]:
            task.add_done_callback(lambda task: order.append(-task.result().result))
        one.engine.gate.set()
        other.engine.gate.set()
        await asyncio.wait([*first, *second])
        assert order in ([1, 2] * 6, [1, 2, 2, 1, *[1, 2] * 4], [1, *[2, 1] * 5, 2])


async def test_request_of_a_higher_class_takes_the_place_of_one_that_waits() -> None:
    async with models(house=House(Bounds(2, 10**6))) as [model]:
        first = await model.submitted(1)
        await model.engine.started.acquire()
        low = await model.submitted(2, priority=Priority.LOW)
        high = await model.submitted(3, priority=Priority.HIGH)
        model.engine.gate.set()
        assert await results([*first, *low, *high]) == [-1, QueueFull, -3]
        assert (model.seen.why, model.engine.runs) == (["displaced"], [[1], [3]])


async def test_next_batch_is_prepared_while_one_runs() -> None:
    async with models(prepares=True, buckets=(2,)) as [model]:
        first = await model.submitted(1, 2)
        await model.engine.started.acquire()
        second = await model.submitted(3, 4)
        third = await model.submitted(5, 6)
        await model.engine.ready.acquire()
        await model.engine.ready.acquire()
        assert (model.engine.runs, model.engine.prepared) == ([[1, 2]], [[1, 2], [3, 4]])
        model.engine.gate.set()
        assert await results([*first, *second, *third]) == [-1, -2, -3, -4, -5, -6]


async def test_prepared_batch_is_prepared_anew_when_a_caller_leaves() -> None:
    async with models(prepares=True, buckets=(1, 2)) as [model]:
        first = await model.submitted(1, 2)
        await model.engine.started.acquire()
        second = await model.submitted(3, 4)
        await model.engine.ready.acquire()
        await model.engine.ready.acquire()
        second[0].cancel()
        await asyncio.wait([second[0]])
        model.engine.gate.set()
        assert await results([*first, *second]) == [-1, -2, asyncio.CancelledError, -4]
        assert (model.engine.runs, model.engine.discarded) == ([[1, 2], [4]], [[3, 4]])
        assert (model.seen.changes, model.seen.why) == (1, ["cancelled"])


async def test_free_engine_waits_for_a_batch_to_fill_up_where_it_should() -> None:
    async with models(max_queue_delay=3600.0, buckets=(2,)) as [model]:
        model.engine.gate.set()
        first = await model.submitted(1)
        await asyncio.sleep(0)
        assert model.engine.runs == []
        assert await results([*first, *await model.submitted(2)]) == [-1, -2]
        assert model.engine.runs == [[1, 2]]


async def test_rows_of_one_kind_run_together_and_those_of_another_in_their_turn() -> None:
    async with models() as [model]:
        first = await model.submitted(1)
        await model.engine.started.acquire()
        others = await model.submitted(2, 501, 3, 502, 4)
        assert model.queue.weight == pytest.approx(3 + 2 * 2)
        model.engine.gate.set()
        assert await results([*first, *others]) == [-1, -2, -501, -3, -502, -4]
        assert model.engine.runs == [[1], [2, 3, 4], [501, 502]]
        assert (model.queue.depth, model.queue.weight, model.queue.backlog) == (0, 0, 0)


async def test_row_of_another_kind_that_fails_fails_alone() -> None:
    async with models() as [model]:
        model.engine.gate.set()
        tasks = await model.submitted(501, 1, POISON, UNLUCKY, 502)
        assert await results(tasks) == [-501, -1, EngineBroken, InferenceFailed, -502]
        assert all(len({item >= 500 for item in run}) == 1 for run in model.engine.runs)


async def test_forecast_knows_how_long_large_rows_take() -> None:
    async with models(buckets=(1,)) as [model]:
        assert model.queue.wait(USUAL, {LARGE: 3}) == pytest.approx(3 * model.queue.costs.seconds(1, LARGE))
        assert model.queue.service(1, LARGE, {}) == model.queue.costs.seconds(1, LARGE)
        assert model.queue.costs.seconds(1, LARGE) > model.queue.costs.seconds(1)


async def test_costs_are_learned_from_the_runs() -> None:
    async with models() as [model]:
        model.engine.gate.set()
        model.queue.costs.observe(1, 5.0)
        before = model.queue.costs.seconds(1)
        await model.translate(1)
        assert model.queue.costs.seconds(1) < before


async def test_forecast_counts_what_runs_what_waits_and_what_others_may_take() -> None:
    async with models(2, buckets=(1,)) as [model, other]:
        tasks = await model.submitted(1)
        await model.engine.started.acquire()
        tasks += await model.submitted(2, 3)
        assert model.queue.wait(USUAL, {USUAL: 2}) == pytest.approx(1 + 2)
        tasks += await other.submitted(*range(10))
        assert model.queue.wait(USUAL, {USUAL: 2}) == pytest.approx(1 + 2 + 3), (
            "the other model gets no more than we do"
        )
        assert other.queue.wait(USUAL, {}) == pytest.approx(1 + 1)
        for one in (model, other):
            one.engine.gate.set()
        await asyncio.wait(tasks)
