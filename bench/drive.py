"""Sends calls by a clock (open loop), or each when the one before is answered (closed loop)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bench.outcome import EXPIRED, NOT_SENT, UNANSWERED, UNSENT, Outcome, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.clock import Clock
    from bench.orders import Order
    from bench.tally import Tally

_PULSE = 0.05
# An open loop looks at least this often whether it is to stop.
_LONGEST_SLEEP = 0.5
_PAUSE_AFTER_FAILURE = 0.1


class Caller(Protocol):
    """Makes calls; `remaining` is the seconds to the deadline, which may be infinite."""

    async def call(self, order: Order, remaining: float) -> Reply:
        """Returns what came back, an error as well as an answer."""


@dataclass(frozen=True)
class Driver:
    """Sends what `next_order` draws until the tally's window ends or `stop` is set, and tallies what becomes of it."""

    caller: Caller
    next_order: Callable[[], Order]
    clock: Clock
    tally: Tally
    stop: asyncio.Event
    drain: float

    async def open_loop(self, arrivals: Iterator[float], max_outstanding: int) -> None:
        """Sends a call at each of the arrivals, late where it must but never left out.

        A call's time counts from its arrival and not from when it was sent: a server that stalls is charged for the
        calls that had to wait for it, which is what corrects for coordinated omission.
        """
        async with asyncio.TaskGroup() as tasks:
            outstanding: set[asyncio.Task[Any]] = set()
            for due in arrivals:
                if due >= self.tally.window.end or not await self._reach(due):
                    break
                order = self.next_order()
                if len(outstanding) >= max_outstanding:
                    self._tally(order, due, due, Reply(UNSENT))
                    continue
                task = tasks.create_task(self._call(order, due))
                outstanding.add(task)
                task.add_done_callback(outstanding.discard)
            await self._give_up_on(outstanding)

    async def closed_loop(self, callers: int) -> None:
        """Lets callers call, each again when it is answered."""
        async with asyncio.TaskGroup() as tasks:
            await self._give_up_on({tasks.create_task(self._repeat()) for _ in range(callers)}, self.tally.window.end)

    async def pulse(self) -> None:
        """Measures how late this process wakes up, until cancelled: no time told here is more precise than that."""
        due = self.clock.now()
        while True:
            due += _PULSE
            await self.clock.sleep_until(due)
            self.tally.lag.add(self.clock.now() - due)
            due = max(due, self.clock.now() - _PULSE)

    async def _reach(self, due: float) -> bool:
        """Waits until a call is due; tells whether it is still to be sent."""
        wake = -_LONGEST_SLEEP
        while wake < due and not self.stop.is_set():
            wake = min(due, max(wake, self.clock.now()) + _LONGEST_SLEEP)
            await self.clock.sleep_until(wake)
        if self.stop.is_set():
            self.tally.stopped_at = min(self.tally.stopped_at, self.clock.now())
        return not self.stop.is_set()

    async def _repeat(self) -> None:
        await self.clock.sleep_until(0)
        while (now := self.clock.now()) < self.tally.window.end:
            if self.stop.is_set():
                self.tally.stopped_at = min(self.tally.stopped_at, now)
                return
            outcome = await self._call(self.next_order(), now)
            if outcome.verdict == "failed":  # not at once again, or all that is measured is how fast a call can fail
                await self.clock.sleep_until(self.clock.now() + _PAUSE_AFTER_FAILURE)

    async def _call(self, order: Order, due: float) -> Outcome:
        sent = self.clock.now()
        remaining = order.deadline - (sent - due)
        if remaining <= 0:
            return self._tally(order, due, sent, Reply(EXPIRED, NOT_SENT))
        try:
            reply = await self.caller.call(order, remaining)
        except asyncio.CancelledError:
            self._tally(order, due, sent, Reply(UNANSWERED))
            raise
        return self._tally(order, due, sent, reply)

    def _tally(self, order: Order, due: float, sent: float, reply: Reply) -> Outcome:
        ended = self.clock.now()
        outcome = Outcome(reply, order.priority, due, sent, ended, order.deadline, order.is_cancelling)
        self.tally.add(outcome)
        return outcome

    async def _give_up_on(self, outstanding: set[asyncio.Task[Any]], last: float = 0.0) -> None:
        """Waits for what is not answered yet, `drain` seconds beyond the last call, and then no longer."""
        patience = max(0.0, last - self.clock.now()) + self.drain
        if outstanding:
            _, silent = await asyncio.wait(outstanding, timeout=patience)
            for task in silent:
                task.cancel()
