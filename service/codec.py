"""The threads on which pictures are decoded, blended and encoded."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Pixels up to which a picture is decoded or encoded in some hundredths of a second, however its file is made; larger
# ones may take seconds.
SMALL = 1 << 20


class Codec:
    """Two sets of threads, one for small pictures and one for large: the former never wait for the latter.

    Where both have work, the operating system shares the cores out between them.
    """

    def __init__(self, threads: int) -> None:
        """Run at most so many small pictures at a time, and as many large ones."""
        self._small = ThreadPoolExecutor(threads, thread_name_prefix="codec")
        self._large = ThreadPoolExecutor(threads, thread_name_prefix="codec-large")

    async def run(self, work: Callable[[], T], pixels: int = 0) -> T:
        """Return what the work on a picture of so many pixels returns; raises what it raises."""
        threads = self._small if pixels <= SMALL else self._large
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    def close(self) -> None:
        """Let go of the threads; what has not begun is cancelled."""
        for threads in (self._small, self._large):
            threads.shutdown(wait=False, cancel_futures=True)
