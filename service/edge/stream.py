"""One call that carries many pictures: read while there is room, answered as they are done, and ended in good order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from service.errors import NotReady

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Context = grpc.aio.ServicerContext[Any, Any]
    Answer = Callable[[Any], Awaitable[Any]]


class Stream:
    """The items of one call.

    At most `window` items are in hand. One is so from when it is read until its answer is written, so that a caller who
    does not read is read no further. `answer` makes an item's answer, whatever is wrong with the item. Once `draining`
    is set, what is in hand is finished and the call is ended, so that its caller goes elsewhere.
    """

    def __init__(self, context: Context, answer: Answer, window: int, draining: asyncio.Event) -> None:
        self._context = context
        self._answer = answer
        self._room = asyncio.Semaphore(window)
        self._writing = asyncio.Lock()
        self._draining = draining
        self._in_hand: set[asyncio.Task[None]] = set()
        self._is_cut_short = False

    async def run(self) -> None:
        """Serve until the caller has sent all and been answered; raises NotReady when the server stops before that."""
        async with asyncio.TaskGroup() as tasks:
            intake = tasks.create_task(self._take_in(tasks))
            watch = tasks.create_task(self._cut_short(intake))
            intake.add_done_callback(lambda _: watch.cancel())
        if self._is_cut_short:
            raise NotReady("the server is shutting down; what has no answer was not done and is to be sent again")

    async def _take_in(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._room.acquire()
            try:
                item = await self._context.read()
            except grpc.aio.BaseError:
                return  # the call is over
            if item is grpc.aio.EOF:
                return
            serving = tasks.create_task(self._serve(item))
            self._in_hand.add(serving)
            serving.add_done_callback(self._in_hand.discard)

    async def _serve(self, item: Any) -> None:  # noqa: ANN401 (the messages of any method)
        try:
            answer = await self._answer(item)
            del item  # a picture, which need not wait with its answer for a slow reader
            # gRPC takes one message at a time, and this one only when the caller has room for it.
            async with self._writing:
                await self._context.write(answer)
        except grpc.aio.BaseError:
            return  # the caller is gone: nothing can be written, and gRPC is about to cancel the call
        finally:
            self._room.release()

    async def _cut_short(self, intake: asyncio.Task[None]) -> None:
        """Take in no more when the server stops and what it had by then is answered."""
        await self._draining.wait()
        if self._in_hand:
            await asyncio.wait(self._in_hand)
        self._is_cut_short = intake.cancel()
