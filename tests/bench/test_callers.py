"""Both kinds of callers against a real gRPC server."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from lapis.v1 import translation_pb2 as pb

from bench.orders import Order
from bench.outcome import Reply
from bench.streaming import StreamCaller
from bench.unary import UnaryCaller
from bench.wire import reason_of, stream_request, timeout_field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.bench.conftest import Servicer

    Run = Callable[[], AbstractAsyncContextManager[tuple[Servicer, str]]]


def order(content: bytes, *, cancel_after: float = math.inf) -> Order:
    return Order(pb.TranslateRequest(encoded=content).SerializeToString(), "normal", math.inf, cancel_after)


@asynccontextmanager
async def streaming(server: Run) -> AsyncIterator[tuple[Servicer, StreamCaller]]:
    async with (
        server() as (servicer, address),
        grpc.aio.insecure_channel(address) as channel,
        asyncio.timeout(20),  # what is never told to who waits is a failure, not a wait
        StreamCaller(channel) as caller,
    ):
        yield servicer, caller


def check_answer(reply: Reply) -> None:
    assert (reply.code, reply.model) == ("OK", "echo/1")
    assert reply.timings
    assert reply.timings.batch_size == 4


async def test_answer_comes_with_what_it_tells_of_itself(server: Run) -> None:
    async with server() as (_, address), grpc.aio.insecure_channel(address) as channel:
        check_answer(await UnaryCaller(channel, "call").call(order(b"x"), math.inf))


async def test_refusal_comes_with_its_reason(server: Run) -> None:
    async with server() as (_, address), grpc.aio.insecure_channel(address) as channel:
        reply = await UnaryCaller(channel, "call").call(order(b"refuse"), math.inf)
    assert reply == Reply("RESOURCE_EXHAUSTED", "QUEUE_FULL")


async def test_error_of_grpc_s_own_has_no_reason(server: Run) -> None:
    async with server() as (_, address), grpc.aio.insecure_channel(address) as channel:
        assert await UnaryCaller(channel, "call").call(order(b"break"), math.inf) == Reply("UNAVAILABLE")


async def test_caller_who_cancels_is_gone_for_the_server_too(server: Run) -> None:
    async with server() as (servicer, address), grpc.aio.insecure_channel(address) as channel:
        reply = await UnaryCaller(channel, "call").call(order(b"hold", cancel_after=0.1), math.inf)
        await servicer.cancelled.wait()
    assert reply == Reply("CANCELLED", "BY_CALLER")


async def test_answer_before_the_caller_would_have_cancelled_is_an_answer(server: Run) -> None:
    async with server() as (_, address), grpc.aio.insecure_channel(address) as channel:
        check_answer(await UnaryCaller(channel, "call").call(order(b"x", cancel_after=60), math.inf))


async def test_load_that_ends_is_not_taken_for_a_caller_who_cancels(server: Run) -> None:
    async with server() as (servicer, address), grpc.aio.insecure_channel(address) as channel:
        call = asyncio.ensure_future(UnaryCaller(channel, "call").call(order(b"hold", cancel_after=60), math.inf))
        await servicer.held.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_deadline_goes_with_the_call_or_with_the_picture(server: Run) -> None:
    async with server() as (servicer, address), grpc.aio.insecure_channel(address) as channel:
        await UnaryCaller(channel, "call").call(order(b"x"), 20.0)
        await UnaryCaller(channel, "picture").call(order(b"x"), 1.25)
        expired = await UnaryCaller(channel, "call").call(order(b"hold"), 0.05)
    by_call, by_picture = servicer.requests[:2]
    assert not by_call.HasField("timeout")
    assert servicer.deadlines[0] == pytest.approx(20, abs=5)
    assert by_picture.timeout.ToTimedelta().total_seconds() == 1.25
    assert servicer.deadlines[1] is None
    assert expired.code == "DEADLINE_EXCEEDED"


async def test_stream_carries_many_pictures_and_their_errors(server: Run) -> None:
    contents = [b"a", b"refuse", b"b", b"refuse"]
    async with streaming(server) as (servicer, caller):
        replies = await asyncio.gather(*(caller.call(order(content), 30.0) for content in contents))
    for reply in replies[::2]:
        check_answer(reply)
    assert replies[1::2] == [Reply("RESOURCE_EXHAUSTED", "QUEUE_FULL")] * 2
    assert servicer.streams == 1
    assert len({request.request_id for request in servicer.requests}) == 4
    assert all(request.timeout.seconds == 30 for request in servicer.requests)


async def test_end_of_a_stream_is_told_to_all_who_wait_and_the_next_opens_another(server: Run) -> None:
    async with streaming(server) as (servicer, caller):
        waiting = asyncio.ensure_future(caller.call(order(b"hold"), math.inf))
        await servicer.held.wait()
        broken = await caller.call(order(b"break"), math.inf)
        assert {(await waiting).code, broken.code} == {"UNAVAILABLE"}
        check_answer(await caller.call(order(b"x"), math.inf))
    assert servicer.streams == 2


async def test_stream_that_is_given_up_does_not_hold_up_the_end(server: Run) -> None:
    async with streaming(server) as (servicer, caller):
        silent = asyncio.ensure_future(caller.call(order(b"hold"), math.inf))
        await servicer.held.wait()
        silent.cancel()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 70_000])
def test_stream_request_is_what_protobuf_would_write(size: int) -> None:
    request = pb.TranslateRequest(encoded=bytes(size))
    expected = pb.TranslateStreamRequest(request=request)
    assert pb.TranslateStreamRequest.FromString(stream_request(request.SerializeToString())) == expected
    assert stream_request(request.SerializeToString()) == expected.SerializeToString()


def test_timeout_is_exact_to_a_nanosecond_or_so() -> None:
    sent = pb.TranslateRequest.FromString(timeout_field(2.5))
    assert (sent.timeout.seconds, sent.timeout.nanos) == (2, 500_000_000)


def test_details_that_cannot_be_read_have_no_reason() -> None:
    assert reason_of((("grpc-status-details-bin", b"\xff\xff"),)) == ""
    assert reason_of(None) == ""
