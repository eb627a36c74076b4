"""The time of a load, counted from its start."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits; tests pass one of their own."""

    def now(self) -> float:
        """Returns the seconds from the start; negative before it."""

    async def sleep_until(self, moment: float) -> None:
        """Returns when it is `moment`; lets others run even when that is past."""


class MonotonicClock:
    """The system's monotonic clock, which all processes of a machine share; `start` is a moment of time.monotonic."""

    def __init__(self, start: float) -> None:
        self._start = start

    def now(self) -> float:
        """Returns the seconds from the start."""
        return time.monotonic() - self._start

    async def sleep_until(self, moment: float) -> None:
        """Returns when it is `moment`."""
        await asyncio.sleep(max(0.0, moment - self.now()))
