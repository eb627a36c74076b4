"""Trying again: how often, after which pauses, and from which byte on."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from service.delivery.errors import GaveUp, Transient
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0


@dataclass
class Patience:
    """How long to wait, in seconds of pauses since anything last went well, before giving up."""

    max_time: float
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[float, float], float] = random.uniform
    _waited: float = field(default=0.0, init=False)
    _next: float = field(default=_FIRST_PAUSE, init=False)

    def went_well(self) -> None:
        """Begin to count anew."""
        self._waited, self._next = 0.0, _FIRST_PAUSE

    def pause(self, error: Transient) -> None:
        """Wait before the next try; raises GaveUp once that has been done for `max_time`."""
        pause = max(error.retry_after, self.jitter(self._next / 2, self._next))
        if self._waited + pause > self.max_time:
            raise GaveUp(f"{error} (tried again for {self.max_time:g} s)") from error
        log.warning("trying_again", reason=str(error), seconds=round(pause, 1))
        self.sleep(pause)
        self._waited, self._next = self._waited + pause, min(2 * self._next, _LONGEST_PAUSE)

    def persist(self, attempt: Callable[[], T]) -> T:
        """Return what the attempt returns once it does not fail transiently."""
        while True:
            try:
                result = attempt()
            except Transient as error:
                self.pause(error)
            else:
                self.went_well()
                return result

    def stream(self, read: Callable[[int], Iterator[bytes]]) -> Iterator[bytes]:
        """Yield all bytes of something that can be read from any byte on, however often reading is cut short."""
        offset = 0
        while True:
            try:
                for chunk in read(offset):
                    offset += len(chunk)
                    self.went_well()
                    yield chunk
            except Transient as error:
                self.pause(error)
            else:
                return
