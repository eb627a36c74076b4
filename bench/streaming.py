"""Pictures over one TranslateStream call for each connection."""

from __future__ import annotations

import asyncio
import math
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import grpc
from lapis.v1 import translation_pb2 as pb

from bench.outcome import OK, Reply
from bench.wire import METHOD, id_field, reason_of, stream_request, timeout_field

if TYPE_CHECKING:
    from bench.orders import Order

# Seconds that the server has to end a stream after its last answer.
_FAREWELL = 1.0
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class StreamCaller:
    """Sends pictures over a stream and matches the answers; opens a new stream when the server ended the last one.

    A context manager, which owns the task that reads the answers.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._open: Any = channel.stream_stream(
            f"{METHOD}/TranslateStream",
            response_deserializer=pb.TranslateStreamResponse.FromString,
        )
        self._ids = count()
        self._stream: Any = None
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        # A stream takes one message at a time, in the order in which they come; meanwhile the others wait.
        self._writing = asyncio.Lock()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:  # noqa: ANN401, PYI036 (passed on as they are)
        """Ends the stream as one that is done with it, or at once where the server does not end it too."""
        if self._stream:
            await self._stream.done_writing()
            asyncio.get_running_loop().call_later(_FAREWELL, self._stream.cancel)
        await self._tasks.__aexit__(*exception)

    async def call(self, order: Order, remaining: float) -> Reply:
        """Returns what became of one picture."""
        request_id = str(next(self._ids))
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        timeout = b"" if remaining == math.inf else timeout_field(remaining)
        try:
            async with self._writing:
                self._waiting[request_id] = answered
                await self._write(order.request + timeout + id_field(request_id))
            return await answered
        finally:
            self._waiting.pop(request_id, None)

    async def _write(self, request: bytes) -> None:
        if self._stream is None:
            self._stream = self._open()
            self._tasks.create_task(self._read(self._stream))
        try:
            await self._stream.write(stream_request(request))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream has ended; whoever reads it tells everyone why.
            return

    async def _read(self, stream: Any) -> None:  # noqa: ANN401 (types-grpcio knows no such call)
        code, reason = "UNKNOWN", "STREAM_ENDED"
        try:
            async for response in stream:
                self._answer(response)
        except grpc.aio.AioRpcError as error:
            code, reason = error.code().name, reason_of(error.trailing_metadata())
        finally:
            self._stream = None
            for answered in self._waiting.values():
                if not answered.done():
                    answered.set_result(Reply(code, reason))

    def _answer(self, response: pb.TranslateStreamResponse) -> None:
        answered = self._waiting.get(response.request_id)
        if answered is None or answered.done():
            return
        if response.WhichOneof("result") == "error":
            answered.set_result(Reply(_CODES.get(response.error.code, "UNKNOWN"), response.error.reason))
        else:
            answer = response.response
            answered.set_result(Reply(OK, "", answer.timings, f"{answer.model}/{answer.version}", answer.cached))
