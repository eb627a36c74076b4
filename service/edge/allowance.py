"""How many lines of a kind the log is given, so that a flood of requests is none of lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Allowance:
    """Allows `rate` lines a second, and as many at once after a second without any; counts what it does not allow."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left = rate
        self._at = clock()
        self._withheld = 0

    def allows(self) -> bool:
        """Return whether one more line may be written."""
        now = self._clock()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            self._withheld += 1
            return False
        self._left -= 1
        return True

    def fields(self) -> dict[str, int]:
        """Return as log fields how many lines were not written since the last one that was; nothing if none."""
        withheld, self._withheld = self._withheld, 0
        return {"unlogged": withheld} if withheld else {}
