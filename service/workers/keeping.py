"""When a process takes the place of one that died, and when there is no use in it any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GIVE_UP = 5
"""Deaths in a row, none of them after being ready, from which on a place is hopeless."""

# Seconds of pause after the first death; each that follows doubles it, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
# Seconds of being ready after which a process counts as sound, and its death as the first.
STEADY = 60.0


class Keeping:
    """How the processes in one place fared."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.deaths = 0
        self._clock = clock
        self._ready_since: float | None = None
        self._in_a_row = 0
        self._never_ready = 0

    @property
    def is_hopeless(self) -> bool:
        """Whether process after process died before it was ready."""
        return self._never_ready >= GIVE_UP

    def became_ready(self) -> None:
        """Note that the process is ready, which it may become more than once."""
        self._never_ready = 0
        if self._ready_since is None:
            self._ready_since = self._clock()

    def died(self) -> float:
        """Note a death, and return the seconds after which the next process is started."""
        self.deaths += 1
        if self._ready_since is None:
            self._never_ready += 1
        elif self._clock() - self._ready_since >= STEADY:
            self._in_a_row = 0
        self._ready_since = None
        self._in_a_row += 1
        # The exponent is bounded too: a float has an end.
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._in_a_row - 1, 16))
