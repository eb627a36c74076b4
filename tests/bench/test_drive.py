"""Drives loads by a virtual clock, on servers that serve one call after the other."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from bench.arrivals import constant, poisson
from bench.drive import Driver
from bench.orders import Order
from bench.outcome import OK, Reply
from bench.tally import Tally, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from bench.drive import Caller
    from tests.bench.conftest import VirtualClock

SERVICE_TIME = 0.001


class OneByOne:
    """Takes a millisecond for each call, but nothing gets done during the stall."""

    def __init__(self, clock: VirtualClock, stall: tuple[float, float] = (math.inf, math.inf)) -> None:
        self._clock = clock
        self._stall = stall
        self._free = 0.0
        self.remaining: list[float] = []

    async def call(self, order: Order, remaining: float) -> Reply:  # noqa: ARG002
        self.remaining.append(remaining)
        begins = max(self._clock.now(), self._free)
        if self._stall[0] <= begins < self._stall[1]:
            begins = self._stall[1]
        self._free = begins + SERVICE_TIME
        await self._clock.sleep_until(self._free)
        return Reply(OK)


class Silent:
    """Never answers."""

    async def call(self, order: Order, remaining: float) -> Reply:  # noqa: ARG002
        await asyncio.Event().wait()
        raise AssertionError


class Failing:
    """Fails at once."""

    async def call(self, order: Order, remaining: float) -> Reply:  # noqa: ARG002
        return Reply("UNAVAILABLE")


def driver(
    clock: VirtualClock, caller: Caller, seconds: float, *, deadline: float = math.inf, drain: float = 1000.0
) -> Driver:
    order = Order(b"", "normal", deadline, math.inf)
    return Driver(caller, lambda: order, clock, Tally(Window(0, seconds)), asyncio.Event(), drain)


async def drive(clock: VirtualClock, work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(20):
        await clock.run(asyncio.ensure_future(work))


async def test_open_loop_charges_a_stall_to_all_who_had_to_wait(clock: VirtualClock) -> None:
    # 100 calls/s for 30 s; from 10 s to 20 s nothing is done: a third of the callers wait, up to 10 s.
    driven = driver(clock, OneByOne(clock, stall=(10, 20)), 30)
    await drive(clock, driven.open_loop(constant(100, 0), 10_000))
    latency = driven.tally.all_latency
    assert latency.total == 3000
    assert latency.percentile(0.9) == pytest.approx(10 - 0.1 * 30, rel=0.1)  # 10 % of all waited longer than 7 s
    assert latency.most == pytest.approx(10, rel=0.01)


async def test_closed_loop_hides_the_same_stall_from_all_but_one(clock: VirtualClock) -> None:
    driven = driver(clock, OneByOne(clock, stall=(10, 20)), 30)
    await drive(clock, driven.closed_loop(1))
    assert driven.tally.all_latency.percentile(0.999) == pytest.approx(SERVICE_TIME, rel=0.01)


async def test_call_that_its_caller_sends_late_is_timed_from_when_it_was_due(clock: VirtualClock) -> None:
    def paused() -> Iterator[float]:
        clock.time = 3.0  # the caller's process was held up
        yield 1.5

    caller = OneByOne(clock)
    driven = driver(clock, caller, 10, deadline=2)
    await drive(clock, driven.open_loop(paused(), 10))
    assert driven.tally.all_latency.most == pytest.approx(1.5 + SERVICE_TIME, abs=0.01)
    assert driven.tally.sent_late.most == pytest.approx(1.5)
    assert caller.remaining == pytest.approx([0.5])  # a deadline counts from then, too


async def test_call_whose_deadline_is_past_before_it_is_sent_is_not_sent(clock: VirtualClock) -> None:
    def paused() -> Iterator[float]:
        clock.time = 3.0
        yield 1.0

    caller = OneByOne(clock)
    driven = driver(clock, caller, 10, deadline=1)
    await drive(clock, driven.open_loop(paused(), 10))
    assert caller.remaining == []
    assert driven.tally.calls == {("normal", "expired", "DEADLINE_EXCEEDED", "NOT_SENT_IN_TIME"): 1}


async def test_open_loop_goes_on_sending_whatever_is_unanswered(clock: VirtualClock) -> None:
    driven = driver(clock, Silent(), 5, drain=0.01)
    await drive(clock, driven.open_loop(poisson(50, random.Random(0)), 10_000))
    assert driven.tally.calls.keys() == {("normal", "failed", "UNANSWERED", "")}
    assert driven.tally.count("failed") == pytest.approx(250, abs=60)


async def test_calls_beyond_what_may_be_outstanding_are_counted_and_not_sent(clock: VirtualClock) -> None:
    driven = driver(clock, Silent(), 1, drain=0.01)
    await drive(clock, driven.open_loop(constant(10, 0), 3))
    assert driven.tally.count("failed") == 3
    assert driven.tally.count("unsent") == 7


async def test_closed_loop_has_as_many_calls_under_way_as_callers(clock: VirtualClock) -> None:
    driven = driver(clock, OneByOne(clock), 1)
    await drive(clock, driven.closed_loop(5))
    assert driven.tally.all_latency.percentile(0.5) == pytest.approx(5 * SERVICE_TIME, rel=0.01)
    assert driven.tally.ended["good"] == pytest.approx(1 / SERVICE_TIME, rel=0.02)


async def test_callers_whose_calls_fail_do_not_call_as_fast_as_they_can(clock: VirtualClock) -> None:
    driven = driver(clock, Failing(), 10)
    await drive(clock, driven.closed_loop(2))
    assert driven.tally.count("failed") == pytest.approx(200, abs=2)


@pytest.mark.parametrize("kind", ["open", "closed"])
async def test_load_that_is_stopped_says_when(clock: VirtualClock, kind: str) -> None:
    driven = driver(clock, OneByOne(clock), 1000)

    def arrivals() -> Iterator[float]:
        for due in constant(10, 0):
            if due >= 2:
                driven.stop.set()
            yield due

    async def stop_closed() -> None:
        await clock.sleep_until(2)
        driven.stop.set()

    if kind == "open":
        await drive(clock, driven.open_loop(arrivals(), 10))
    else:
        stopping = asyncio.ensure_future(stop_closed())
        await drive(clock, driven.closed_loop(1))
        await stopping
    assert driven.tally.stopped_at == pytest.approx(2, abs=0.2)


async def test_pulse_measures_how_late_the_process_wakes_up(clock: VirtualClock) -> None:
    driven = driver(clock, Silent(), 1)
    pulse = asyncio.ensure_future(driven.pulse())

    async def hold_up() -> None:
        await clock.sleep_until(0.04)
        clock.time = 0.25  # the pulse was due at 0.05

    holding = asyncio.ensure_future(hold_up())
    await drive(clock, asyncio.wait_for(_until(lambda: driven.tally.lag.total >= 2), 5))
    pulse.cancel()
    await holding
    assert driven.tally.lag.most == pytest.approx(0.2, abs=0.02)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)
