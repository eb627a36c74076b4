"""How busy the lanes are: the places where runs go on at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Samples kept per window: finer than anyone scrapes.
_SAMPLES = 20


class BusyMeter:
    """Tells what share of the lanes was running over the last `window` seconds, from 0 to 1; any thread may use it."""

    def __init__(self, lanes: int, window: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lanes = lanes
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()
        self._running = 0
        self._seconds = 0.0
        self._at = clock()
        self._history = deque([(self._at, 0.0)])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count one lane as busy."""
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def ratio(self) -> float:
        """Return the busy share of the window that ends now, or of the time so far where that is less."""
        with self._lock:
            self._advance()
            since, seconds = self._history[0]
            elapsed = self._at - since
            return (self._seconds - seconds) / (elapsed * self._lanes) if elapsed > 0 else 0.0

    def _change(self, running: int) -> None:
        with self._lock:
            self._advance()
            self._running += running

    def _advance(self) -> None:
        """Bring the busy seconds up to now, and note them down for later."""
        now = self._clock()
        self._seconds += self._running * (now - self._at)
        self._at = now
        if now - self._history[-1][0] >= self._window / _SAMPLES:
            self._history.append((now, self._seconds))
        # The oldest sample kept is the last one that the window has left behind.
        while len(self._history) > 1 and self._history[1][0] <= now - self._window:
            self._history.popleft()
