"""Calls made again: which may be, when, and for how long."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import grpc

from lapis.client import NotReady, Overloaded, TranslationError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_WAIT = 0.25
_LONGEST_WAIT = 8.0


@dataclass(frozen=True)
class Retry:
    """For how many seconds of waiting in all a call is made again, and how the waiting is done.

    `jitter(low, high)` spreads the waits, so that callers who were refused together do not come back together.
    """

    max_time: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform

    def pause(self, error: TranslationError, wait: float) -> float:
        """Returns the seconds to wait: never less than the server asks for, else between half of `wait` and all."""
        if error.retry_after:
            return error.retry_after * self.jitter(1.0, 1.25)
        return wait * self.jitter(0.5, 1.0)


def may_be_retried(error: TranslationError) -> bool:
    """Tells whether the same request may be taken another time: the server says so, or is only not there now."""
    if error.code is grpc.StatusCode.UNIMPLEMENTED:
        return False
    return error.retry_after is not None or isinstance(error, Overloaded | NotReady | Unreachable)


async def patiently(call: Callable[[], Awaitable[T]], retry: Retry) -> T:
    """Makes the call until the server takes it, or until waiting any longer would exceed `retry.max_time`."""
    waited, wait = 0.0, _FIRST_WAIT
    while True:
        try:
            return await call()
        except TranslationError as error:
            pause = retry.pause(error, wait)
            if not may_be_retried(error) or waited + pause > retry.max_time:
                raise
        await retry.sleep(pause)
        waited, wait = waited + pause, min(2 * wait, _LONGEST_WAIT)
