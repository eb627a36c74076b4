"""How much one model may hold at a time, decided before anything is decoded."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.errors import QueueFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A caller is never told to come back sooner than this, in seconds.
_SHORTEST_RETRY = 0.05


class Admission:
    """Bounds the requests that are in, and their bytes, from admission until the answer is ready."""

    def __init__(self, max_requests: int, max_bytes: int, expected_wait: Callable[[], float]) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._expected_wait = expected_wait
        self.requests = 0
        self.bytes = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Hold a place for a request of `size` bytes; raises QueueFull, with when to come back, if there is none."""
        if self.requests >= self._max_requests:
            raise self._full(f"{self.requests:,} requests are in, as many as the server takes")
        if self.bytes + size > self._max_bytes:
            raise self._full(f"requests of {self.bytes:,} bytes are in; with this one's {size:,} it would be too many")
        self.requests += 1
        self.bytes += size
        self._empty.clear()
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= size
            if not self.requests:
                self._empty.set()

    async def until_empty(self) -> None:
        """Wait until no request is in."""
        await self._empty.wait()

    def _full(self, message: str) -> QueueFull:
        return QueueFull(f"{message}; try again later", retry_after=max(_SHORTEST_RETRY, self._expected_wait()))
