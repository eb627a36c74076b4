"""One large picture through the scheduler, a tile at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from service.picture.tile import blend_bytes, cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from service.engine.contract import PictureShape, Pixels
    from service.picture.tile import Blender, TilePlan
    from service.scheduler.queueing import Answer


@dataclass(frozen=True)
class Tiled:
    """A picture made of tiles; seconds until the first was run, seconds from then on, and the largest batch."""

    pixels: Pixels
    queue: float
    infer: float
    batch_size: int


def tiling_bytes(plan: TilePlan, given: PictureShape, made: PictureShape, window: int) -> int:
    """Return the bytes that a picture holds on its way by tiles: itself, those in hand, and what is made of them."""
    in_hand = min(window, plan.count) * (given.nbytes + made.nbytes)
    scales = made.height / given.height, made.width / given.width
    picture = given.nbytes_at(plan.rows.length, plan.columns.length)
    return picture + in_hand + blend_bytes(plan, *scales, made.channels, made.dtype)


async def translate_tiles(
    picture: Pixels,
    plan: TilePlan,
    blender: Blender,
    submit: Callable[[Pixels], Coroutine[None, None, Answer[Pixels]]],
    *,
    in_thread: Callable[[Callable[[], None]], Awaitable[None]],
    window: int,
) -> Tiled:
    """Put every tile of [H, W, C] through `submit`, at most `window` at a time, and blend the answers in order.

    Raises what the first tile to fail raised; the other tiles then leave the queue.
    """
    started = time.monotonic()
    answers: deque[asyncio.Task[Answer[Pixels]]] = deque()
    waited, batch_size = float("inf"), 0
    try:
        async with asyncio.TaskGroup() as tiles:
            for index in range(plan.count + window):
                if index >= window and answers:
                    answer = await answers.popleft()
                    waited, batch_size = min(waited, answer.queue_seconds), max(batch_size, answer.batch_size)
                    await in_thread(partial(blender.add, answer.result))
                if index < plan.count:
                    answers.append(tiles.create_task(submit(cut(picture, plan, index))))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return Tiled(blender.result(), waited, time.monotonic() - started - waited, batch_size)
