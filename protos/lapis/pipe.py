"""Many waiting callers, few calls of TranslateStream: a picture goes in, its translation comes out."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from lapis.client import DeadlineExceeded, NotReady, Request, Translation, TranslationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from lapis.client import AsyncClient, StreamResult, TranslateOptions

# A stream goes to one server, and ends after so many pictures for another to be opened, which may go elsewhere: servers
# that come later, or are healthy again, get a share of a long run. The first streams are short, as a balancer starts
# with the servers that it has reached, and twice as long each time.
_FEWEST, _MOST = 32, 1024
# Seconds beyond a picture's timeout after which a stream that answers nothing is given up.
SILENCE = 60.0
# Seconds that the server may take to end a stream on which all is answered.
_FAREWELL = 5.0


class StreamBroken(Exception):
    """The stream that carried a picture ended before its answer came; `error` says how."""

    def __init__(self, error: TranslationError) -> None:
        super().__init__(error)
        self.error = error


class Pipe:
    """Spreads pictures over `streams` calls, each opened when it is needed and again when it broke.

    Its tasks belong to the group; `close` lets them end. A stream that answers nothing for `silence` seconds longer
    than a picture may take is given up.
    """

    def __init__(
        self,
        client: AsyncClient,
        group: asyncio.TaskGroup,
        options: TranslateOptions,
        *,
        streams: int,
        window: int,
        silence: float = SILENCE,
    ) -> None:
        self._client = client
        self._group = group
        self._options = options
        self._streams = streams
        self._window = window
        self._silence = silence
        self._opened = 0
        self._open: list[_Stream] = []

    async def translate(self, request: Request) -> Translation:
        """Returns the translation; raises the picture's own TranslationError, or StreamBroken."""
        stream = self._choose()
        try:
            return await stream.translate(request)
        except NotReady:
            self._leave(stream)  # the server drains, or lost its model: another may take what comes next
            raise

    def close(self) -> None:
        """Ends the streams, once nothing is waited for."""
        for stream in list(self._open):
            self._leave(stream)

    def _choose(self) -> _Stream:
        """Returns the stream with the least in hand, or a new one while there are too few."""
        self._open = [stream for stream in self._open if stream.takes_more]
        if len(self._open) < self._streams:
            length = min(_FEWEST << (self._opened // self._streams), _MOST)
            self._opened += 1
            stream = _Stream(self._client, length, self._client.timeout + self._silence)
            self._open.append(stream)
            self._group.create_task(stream.run(self._options, self._window))
            return stream
        return min(self._open, key=lambda stream: stream.in_hand)

    def _leave(self, stream: _Stream) -> None:
        """Sends no more on the stream; what was sent is answered still."""
        if stream in self._open:
            self._open.remove(stream)
            stream.finish()


class _Stream:
    """One call, and those who wait for an answer of it."""

    def __init__(self, client: AsyncClient, length: int, silence: float) -> None:
        self._client = client
        self._silence = silence
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue()  # None: no more come
        self._waiting: dict[Request, asyncio.Future[Translation]] = {}
        self._left = length
        self._patience = asyncio.timeout(None)

    @property
    def in_hand(self) -> int:
        """Pictures that are not answered yet."""
        return len(self._waiting)

    @property
    def takes_more(self) -> bool:
        """Whether another picture may be put onto it."""
        return self._left > 0

    def translate(self, request: Request) -> asyncio.Future[Translation]:
        """Puts a picture onto the stream; the future has what Pipe.translate returns and raises."""
        answer = self._waiting[request] = asyncio.get_running_loop().create_future()
        self._requests.put_nowait(request)
        self._left -= 1
        if self._left == 0:
            self._requests.put_nowait(None)
        return answer

    def finish(self) -> None:
        """Takes no more; what was put onto the stream is answered still."""
        if self._left > 0:
            self._left = 0
            self._requests.put_nowait(None)

    async def run(self, options: TranslateOptions, window: int) -> None:
        """Carries pictures and answers until the call ends, however it does."""
        try:
            # Results are closed first: the call is gone before those who wait are told.
            async with self._patience, aclosing(self._call(options, window)) as results:
                async for result in results:
                    self._settle(result)
        except TranslationError as error:
            self._break(error)
        except TimeoutError:
            message = f"{self._client.address} answered nothing for too long"
            self._break(DeadlineExceeded(message, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"))

    def _call(self, options: TranslateOptions, window: int) -> AsyncGenerator[StreamResult]:
        return self._client.translate_stream(self._feed(), window=window, **options)

    async def _feed(self) -> AsyncIterator[Request]:
        while (request := await self._requests.get()) is not None:
            self._wait_for_an_answer()
            yield request
        self._wait_for_an_answer()

    def _settle(self, result: StreamResult) -> None:
        answer = self._waiting.pop(result.request)
        self._wait_for_an_answer()
        if answer.done():  # whoever waited has left
            return
        if isinstance(result.outcome, TranslationError):
            answer.set_exception(result.outcome)
        else:
            answer.set_result(result.outcome)

    def _wait_for_an_answer(self) -> None:
        """Lets the server be silent so long and no longer; for ever where it owes no answer."""
        now = asyncio.get_running_loop().time()
        if self._waiting:
            self._patience.reschedule(now + self._silence)
        else:
            self._patience.reschedule(None if self.takes_more else now + _FAREWELL)

    def _break(self, error: TranslationError) -> None:
        self._left = 0
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(StreamBroken(error))
        self._waiting.clear()
