from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from service.codec import SMALL, Codec


@pytest.fixture
async def codec() -> AsyncIterator[Codec]:
    codec = Codec(1)
    yield codec
    codec.close()


async def test_small_pictures_never_wait_for_large_ones(codec: Codec) -> None:
    gate = threading.Event()
    large = [asyncio.create_task(codec.run(gate.wait, SMALL + 1)) for _ in range(3)]
    await asyncio.sleep(0)
    assert await codec.run(lambda: "small", SMALL) == "small"
    assert not any(task.done() for task in large)
    gate.set()
    assert await asyncio.gather(*large) == [True] * 3


async def test_caller_who_leaves_takes_no_thread_from_small_pictures(codec: Codec) -> None:
    gate = threading.Event()
    for _ in range(5):
        task = asyncio.create_task(codec.run(gate.wait, SMALL + 1))
        await asyncio.sleep(0)
        task.cancel()
    assert await codec.run(lambda: "small") == "small"
    gate.set()


async def test_error_of_the_work_is_the_callers(codec: Codec) -> None:
    def fail() -> None:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        await codec.run(fail)


async def test_what_has_not_begun_is_cancelled_at_the_end(codec: Codec) -> None:
    gate, began = threading.Event(), threading.Event()

    def work() -> bool:
        began.set()
        return gate.wait()

    begun = asyncio.create_task(codec.run(work))
    await asyncio.to_thread(began.wait)
    waiting = asyncio.create_task(codec.run(work))
    await asyncio.sleep(0)
    codec.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    assert await begun
