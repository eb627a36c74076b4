"""TranslateStream for asyncio: one task sends, one receives, and the caller reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, TypeAlias

import grpc.aio

from lapis.client import messages
from lapis.client.errors import typed_errors
from lapis.client.stream import Book, Request, StreamResult, as_request, unreadable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

    from lapis.client.messages import Picture
    from lapis.v1 import translation_pb2 as v1

    Call: TypeAlias = grpc.aio.StreamStreamCall[v1.TranslateStreamRequest, v1.TranslateStreamResponse]
    Requests: TypeAlias = AsyncIterable[Picture | Request] | Iterable[Picture | Request]


class AsyncStream:
    """One call of TranslateStream; what is in hand, from a picture's reading to its result's, stays within a window."""

    def __init__(self, address: str, requests: Requests, book: Book) -> None:
        self._address = address
        self._requests = _each(requests)
        self._book = book
        self._slots = asyncio.Semaphore(book.window)
        # What there is to tell the caller; None is the end. Never longer than the window, and two for the ends.
        self._events: asyncio.Queue[StreamResult | Exception | None] = asyncio.Queue()

    async def results(self, open_call: Callable[[], Call]) -> AsyncGenerator[StreamResult]:
        """Yields results as they come. The call is cancelled where the caller does not read on to the end."""
        call = open_call()
        # A TaskGroup must not reach across a yield, so the two tasks are ended by hand.
        tasks = [asyncio.create_task(self._send(call)), asyncio.create_task(self._receive(call))]
        try:
            while (event := await self._events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                self._slots.release()
                yield event
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _send(self, call: Call) -> None:
        """Sends all. What the caller's own iterator raises is raised where the caller reads results."""
        try:
            await self._slots.acquire()
            async for one in self._requests:
                request = as_request(one)
                try:
                    picture = await _load(request)
                except OSError as error:
                    self._events.put_nowait(unreadable(request, error))
                else:
                    await call.write(self._book.enter(request, picture))
                await self._slots.acquire()
            self._book.all_sent = True
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the call is over, and whoever receives says why
        except Exception as error:  # noqa: BLE001 (told by the other task)
            self._events.put_nowait(error)

    async def _receive(self, call: Call) -> None:
        try:
            with typed_errors(self._address):
                async for response in call:
                    self._events.put_nowait(self._book.take(response))
            self._book.check_end()
        except Exception as error:  # noqa: BLE001 (told by the other task)
            self._events.put_nowait(error)
        else:
            self._events.put_nowait(None)


async def _load(request: Request) -> bytes | messages.Tensor:
    if isinstance(request.picture, bytes | messages.Tensor):
        return request.picture
    return await asyncio.to_thread(messages.load, request.picture)


async def _each(requests: Requests) -> AsyncIterator[Picture | Request]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
