"""A clock that tests run, a server whose behaviour they choose, and calls to count."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

from bench.outcome import OK, Outcome, Reply
from bench.settings import BenchSettings

Context = Any


class VirtualClock:
    """Stands still while anyone has something to do, and then jumps to when the next one wakes."""

    def __init__(self) -> None:
        self.time = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        return self.time

    async def sleep_until(self, moment: float) -> None:
        if moment <= self.time:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (moment, next(self._order), woken))
        await woken

    async def run(self, work: asyncio.Task[Any]) -> None:
        """Lets time pass until the work is done."""
        while not work.done():
            for _ in range(5):
                await asyncio.sleep(0)
            if self._sleepers:
                moment, _, woken = heapq.heappop(self._sleepers)
                self.time = max(self.time, moment)
                if not woken.done():
                    woken.set_result(None)
        await work


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    """Makes the outcome of a call that was due at 1 s and answered 0.1 s later, but for what the test says."""

    def make(reply: Reply | None = None, **fields: object) -> Outcome:
        usual: dict[str, Any] = {
            "priority": "normal",
            "intended": 1.0,
            "sent": 1.0,
            "ended": 1.1,
            "deadline": 1.0,
            "is_cancelling": False,
        }
        return Outcome(reply or Reply(OK), **{**usual, **fields})

    return make


class Servicer(pb_grpc.TranslationServiceServicer):
    """Answers a file with itself; of files that are orders it does as told.

    `refuse`: RESOURCE_EXHAUSTED, QUEUE_FULL. `break`: UNAVAILABLE, and in a stream its end. `hold`: never answers.
    """

    def __init__(self) -> None:
        self.requests: list[pb.TranslateRequest] = []
        self.deadlines: list[float | None] = []
        self.cancelled = asyncio.Event()
        self.held = asyncio.Event()
        self.streams = 0

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        if request.model not in {"", "echo", "loading"}:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model}")
        state = pb.MODEL_STATE_LOADING if request.model == "loading" else pb.MODEL_STATE_READY
        return pb.GetModelResponse(model=pb.Model(name=request.model or "echo", version="1", state=state))

    async def Translate(self, request: pb.TranslateRequest, context: Context) -> pb.TranslateResponse:
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
        if request.encoded == b"refuse":
            await context.abort_with_status(rpc_status.to_status(refusal()))
        if request.encoded == b"break":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        if request.encoded == b"hold":
            await self._hold()
        return answer(request)

    async def TranslateStream(
        self, requests: AsyncIterator[pb.TranslateStreamRequest], context: Context
    ) -> AsyncIterator[pb.TranslateStreamResponse]:
        self.streams += 1
        async for item in requests:
            request = item.request
            self.requests.append(request)
            if request.encoded == b"break":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            if request.encoded == b"refuse":
                error = pb.TranslateError(code=8, reason="QUEUE_FULL")
                yield pb.TranslateStreamResponse(request_id=request.request_id, error=error)
            elif request.encoded == b"hold":
                self.held.set()
            else:
                yield pb.TranslateStreamResponse(request_id=request.request_id, response=answer(request))

    async def _hold(self) -> None:
        self.held.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def answer(request: pb.TranslateRequest) -> pb.TranslateResponse:
    timings = pb.Timings(decode=Duration(nanos=2_000_000), infer=Duration(nanos=30_000_000), batch_size=4)
    return pb.TranslateResponse(
        request_id=request.request_id, encoded=request.encoded, model="echo", version="1", timings=timings
    )


def refusal() -> status_pb2.Status:
    status = status_pb2.Status(code=8, message="full")
    status.details.add().Pack(error_details_pb2.RetryInfo())
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="lapis"))
    return status


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Servicer, str]]:
    servicer, server = Servicer(), grpc.aio.server()
    pb_grpc.add_TranslationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.fixture
def server() -> Callable[[], AbstractAsyncContextManager[tuple[Servicer, str]]]:
    """Runs a server in the test's own event loop; gives it and its address."""
    return serving


@pytest.fixture
def short() -> Callable[..., BenchSettings]:
    """Makes the settings of a load that is over in a moment."""

    def make(**fields: object) -> BenchSettings:
        usual: dict[str, Any] = {"seconds": 0.3, "warmup": 0, "variety": 1, "pictures": "png:8", "connect_timeout": 5}
        return BenchSettings(**{**usual, **fields})

    return make
