from __future__ import annotations

import asyncio

import pytest

from service.errors import ModelNotFound, NotReady
from service.models.orders import Orders


async def test_work_is_done_one_after_the_other_in_order() -> None:
    orders, done, gate = Orders(), [], asyncio.Event()

    async def first() -> int:
        await gate.wait()
        done.append(1)
        return 1

    async def second() -> int:
        done.append(2)
        return 2

    async with asyncio.TaskGroup() as tasks:
        placed = [tasks.create_task(orders.place(work)) for work in (first, second)]
        carried = tasks.create_task(orders.carry_out_next(None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert done == []
        gate.set()
        assert await carried
        assert await orders.carry_out_next(None)
    assert done == [1, 2]
    assert [task.result() for task in placed] == [1, 2]


async def test_caller_who_leaves_does_not_end_the_work() -> None:
    orders, gate, done = Orders(), asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        done.append(1)

    caller = asyncio.ensure_future(orders.place(work))
    carried = asyncio.ensure_future(orders.carry_out_next(None))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await carried
    assert done == [1]


async def test_error_made_for_callers_is_the_caller_s() -> None:
    orders = Orders()

    async def work() -> None:
        raise ModelNotFound("no such model")

    caller = asyncio.ensure_future(orders.place(work))
    await asyncio.sleep(0)
    assert await orders.carry_out_next(None)
    with pytest.raises(ModelNotFound):
        await caller


async def test_fault_of_ours_ends_whoever_carries_out() -> None:
    orders = Orders()

    async def work() -> None:
        raise ZeroDivisionError

    orders.add(work)
    with pytest.raises(ZeroDivisionError):
        await orders.carry_out_next(None)


async def test_waits_no_longer_than_told() -> None:
    assert not await Orders().carry_out_next(0.001)


async def test_end_refuses_what_is_not_done_and_what_comes() -> None:
    orders = Orders()

    async def work() -> None:
        await asyncio.Event().wait()

    callers = [asyncio.ensure_future(orders.place(work)) for _ in range(2)]
    carried = asyncio.ensure_future(orders.carry_out_next(None))
    for _ in range(3):
        await asyncio.sleep(0)
    carried.cancel()
    orders.end()
    for caller in (*callers, orders.place(work)):
        with pytest.raises(NotReady, match="shutting down"):
            await caller
