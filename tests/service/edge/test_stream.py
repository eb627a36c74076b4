from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from lapis.v1 import translation_pb2 as pb
from structlog.testing import capture_logs

from service.errors import InvalidPicture, QueueFull

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.service.conftest import Gate, Png, Serving
    from tests.service.edge.conftest import Edge, Edged

Code = grpc.StatusCode
Call = grpc.aio.StreamStreamCall[pb.TranslateStreamRequest, pb.TranslateStreamResponse]


def item(picture: bytes, **fields: object) -> pb.TranslateStreamRequest:
    named = {"request_id": picture.decode(errors="ignore"), **fields}
    return pb.TranslateStreamRequest(request=pb.TranslateRequest(encoded=picture, **named))


async def send(call: Call, *pictures: bytes) -> None:
    for picture in pictures:
        await call.write(item(picture))


async def rest(call: Call) -> list[pb.TranslateStreamResponse]:
    answers = []
    while (answer := await call.read()) is not grpc.aio.EOF:
        answers.append(answer)
    return answers


async def test_answers_come_as_they_are_done_and_the_call_ends_when_all_have(edged: Edged) -> None:
    async with edged() as edge:
        edge.script.hold(b"slow")
        call = edge.stub.TranslateStream()
        await send(call, b"slow", b"ab", b"cd")
        await call.done_writing()
        quick = [await call.read(), await call.read()]
        edge.script.let_go(b"slow")
        last = await call.read()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is Code.OK
    assert {(one.request_id, one.response.encoded) for one in quick} == {("ab", b"ba"), ("cd", b"dc")}
    assert (last.request_id, last.response.encoded, last.response.request_id) == ("slow", b"wols", "slow")
    assert last.response.timings.batch_size == 5


async def test_picture_that_fails_is_an_item_and_the_call_goes_on(edged: Edged) -> None:
    async with edged() as edge:
        edge.script.fail(b"full", QueueFull("too much", retry_after=1.5))
        edge.script.fail(b"bug", ZeroDivisionError("secret"))
        edge.script.fail(b"bad", InvalidPicture("no picture"))
        call = edge.stub.TranslateStream()
        with capture_logs() as logs:
            await send(call, b"full", b"bug", b"bad", b"ok")
            await call.write(item(b"x", request_id="two\nlines"))
            await call.write(item(b"x", request_id="lost", model="nobody"))
            await call.write(pb.TranslateStreamRequest())
            await call.done_writing()
            answers = {answer.request_id: answer for answer in await rest(call)}
        assert await call.code() is Code.OK
    assert answers.pop("ok").response.encoded == b"ko"
    errors = {name: answer.error for name, answer in answers.items()}
    assert [(name, error.code, error.reason) for name, error in sorted(errors.items()) if len(name) < 32] == [
        ("bad", Code.INVALID_ARGUMENT.value[0], "INVALID_PICTURE"),
        ("bug", Code.INTERNAL.value[0], "INTERNAL"),
        ("full", Code.RESOURCE_EXHAUSTED.value[0], "QUEUE_FULL"),
        ("lost", Code.NOT_FOUND.value[0], "MODEL_NOT_FOUND"),
        ("two\nlines", Code.INVALID_ARGUMENT.value[0], "INVALID_REQUEST"),
    ]
    (unnamed,) = [error for name, error in errors.items() if len(name) == 32]
    assert (unnamed.reason, "no picture" in unnamed.message) == ("INVALID_REQUEST", True)
    assert errors["full"].retry_delay.ToMilliseconds() == 1500
    assert not errors["bad"].HasField("retry_delay")
    (logged,) = [entry for entry in logs if entry["event"] == "request_failed"]
    assert errors["bug"].message == f"the server failed on this request; error id {logged['error_id']}"


async def test_item_that_is_no_message_is_told_so_and_the_call_goes_on(edged: Edged) -> None:
    async with edged() as edge:
        raw: Any = edge.channel.stream_stream(
            "/lapis.v1.TranslationService/TranslateStream",
            response_deserializer=pb.TranslateStreamResponse.FromString,
        )
        call = raw()
        await call.write(b"\xff\xff\xff")
        await call.write(item(b"ab").SerializeToString())
        await call.done_writing()
        answers = await rest(call)
    assert {(answer.request_id, answer.error.reason) for answer in answers} == {("", "INVALID_REQUEST"), ("ab", "")}


async def test_no_more_than_a_window_of_pictures_is_in_hand(edged: Edged) -> None:
    async with edged(stream_window=3) as edge:
        pictures = [f"{number:02d}".encode() for number in range(10)]
        edge.script.hold(*pictures)
        call = edge.stub.TranslateStream()
        await send(call, *pictures)
        await call.done_writing()
        await edge.until(lambda: len(edge.script.orders) == 3)
        assert (await edge.translate(b"other")).encoded == b"rehto", "another call is not held up"
        assert len(edge.script.orders) == 4
        edge.script.let_go(pictures[1])
        assert (await call.read()).request_id == "01"
        await edge.until(lambda: len(edge.script.orders) == 5)
        edge.script.let_go(*pictures)
        others = [answer.request_id for answer in await rest(call)]
    assert sorted(others) == [picture.decode() for picture in pictures if picture != b"01"]


@pytest.mark.parametrize("limits", [{"caller_limit": 3}, {"max_queue": 3}, {"caller_limit": 3, "max_queue": 5}])
async def test_stream_alone_is_held_back_rather_than_refused(edged: Edged, limits: dict[str, int]) -> None:
    async with edged(**limits) as edge:
        pictures = [f"{number:02d}".encode() for number in range(10)]
        edge.script.hold(*pictures)
        call = edge.stub.TranslateStream()
        await send(call, *pictures)
        assert (await edge.translate(b"other")).encoded, "the server has had time to read on"
        await edge.until(lambda: len(edge.script.orders) == 4)
        edge.script.let_go(*pictures)
        await call.done_writing()
        assert len(await rest(call)) == 10


async def test_who_does_not_read_is_read_no_further_and_holds_up_nobody_else(edged: Edged) -> None:
    large = 1_000_000
    async with edged(stream_window=4, max_queue_bytes=2**30) as edge:
        written = 0

        async def pictures() -> AsyncIterator[pb.TranslateStreamRequest]:
            nonlocal written
            for number in range(40):
                yield item(bytes([65 + number]) * large, request_id=str(number))
                written += 1

        call = edge.stub.TranslateStream(pictures())
        # Four answers wait to be written, besides what fits into the buffers on the way.
        await edge.until(lambda: len(edge.script.left) >= 4)
        for _ in range(50):
            assert (await edge.translate(b"other")).encoded == b"rehto"
        taken = len([order for order in edge.script.orders if order.nbytes == large])
        assert taken < 20
        assert edge.metric("lapis_in_flight_requests") <= 4
        answers = {answer.request_id async for answer in call}
    assert answers == {str(number) for number in range(40)}


async def test_caller_who_leaves_takes_all_pictures_along(edged: Edged) -> None:
    async with edged() as edge:
        edge.script.hold(b"a", b"b", b"c")
        call = edge.stub.TranslateStream()
        with capture_logs() as logs:
            await send(call, b"a", b"b", b"c")
            await edge.until(lambda: len(edge.script.orders) == 3)
            call.cancel()
            await edge.until(lambda: len(edge.script.left) == 3)
            await edge.until(lambda: counted(edge, "CANCELLED") == 3)
        assert edge.metric("lapis_in_flight_requests") == 0
    assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_caller_who_leaves_while_answers_are_written_leaves_nothing_behind(edged: Edged) -> None:
    large = b"x" * 1_000_000
    async with edged(stream_window=4) as edge:
        call = edge.stub.TranslateStream()
        with capture_logs() as logs:
            for number in range(4):
                await call.write(item(large, request_id=str(number)))
            await edge.until(lambda: len(edge.script.left) == 4)
            call.cancel()
            assert (await edge.translate(b"ab")).encoded == b"ba"
        await edge.server.stop(5)
    assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_deadline_of_the_call_ends_all_its_pictures(edged: Edged) -> None:
    async with edged() as edge:
        edge.script.hold(b"a", b"b")
        call = edge.stub.TranslateStream(timeout=0.3)
        await send(call, b"a", b"b")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        await edge.until(lambda: counted(edge, "DEADLINE_EXCEEDED") == 2)
    assert ended.value.code() is Code.DEADLINE_EXCEEDED


async def test_timeout_of_a_picture_is_its_own(serving: Serving, png: Png, gate: Gate) -> None:
    async with serving({"m/1": "invert"}) as service:
        gate.close()
        call = service.stub.TranslateStream()
        for name, milliseconds in (("at once", 0), ("soon", 30), ("later", 3_600_000)):
            late = item(png(0), request_id=name)
            late.request.timeout.FromMilliseconds(milliseconds)
            await call.write(late)
        ended = [await call.read(), await call.read()]
        gate.open()
        last = await call.read()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    assert [(one.request_id, one.error.reason) for one in ended] == [
        ("at once", "DEADLINE_EXCEEDED"),
        ("soon", "DEADLINE_EXCEEDED"),
    ]
    assert {one.error.code for one in ended} == {Code.DEADLINE_EXCEEDED.value[0]}
    assert (last.request_id, last.WhichOneof("result")) == ("later", "response")


async def test_each_picture_is_counted_timed_and_logged_as_a_request(edged: Edged) -> None:
    async with edged() as edge:
        edge.script.fail(b"bad", InvalidPicture("no picture"))
        call = edge.stub.TranslateStream()
        with capture_logs() as logs:
            await send(call, b"good", b"bad")
            await call.done_writing()
            assert len(await rest(call)) == 2
        assert (counted(edge, "OK"), counted(edge, "INVALID_ARGUMENT")) == (1, 1)
        assert edge.metric("lapis_refused_requests_total", model="m", version="1", reason="INVALID_PICTURE") == 1
    told = {entry["request_id"]: (entry["method"], entry["code"]) for entry in logs if entry["event"] == "request"}
    assert told == {"good": ("TranslateStream", "OK"), "bad": ("TranslateStream", "INVALID_ARGUMENT")}


async def test_server_that_stops_answers_what_it_has_and_then_sends_the_caller_elsewhere(edged: Edged) -> None:
    async with edged() as edge:
        edge.script.hold(b"first", b"second")
        call = edge.stub.TranslateStream()
        await send(call, b"first", b"second")
        await edge.until(lambda: len(edge.script.orders) == 2)
        edge.registry.drain()
        edge.server.drain()
        await send(call, b"late")
        refused = await call.read()
        edge.script.let_go(b"second")
        second = await call.read()
        edge.script.let_go(b"first")
        first = await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        await asyncio.wait_for(edge.server.stop(30), 10)
    assert (refused.request_id, refused.error.code, refused.error.reason) == (
        "late",
        Code.UNAVAILABLE.value[0],
        "NOT_READY",
    )
    assert [one.request_id for one in (second, first)] == ["second", "first"]
    assert ended.value.code() is Code.UNAVAILABLE
    assert "shutting down" in str(ended.value.details())


async def test_stream_without_pictures_does_not_hold_up_the_end(edged: Edged) -> None:
    async with edged() as edge:
        call = edge.stub.TranslateStream()
        await send(call, b"ab")
        assert (await call.read()).response.encoded == b"ba"
        stopping = asyncio.create_task(edge.server.stop(30))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        await asyncio.wait_for(stopping, 10)
    assert ended.value.code() is Code.UNAVAILABLE


async def test_call_that_its_caller_has_ended_ends_well_though_the_server_stops(edged: Edged) -> None:
    async with edged() as edge:
        edge.script.hold(b"ab")
        call = edge.stub.TranslateStream()
        await send(call, b"ab")
        await call.done_writing()
        await edge.until(lambda: len(edge.script.orders) == 1)
        stopping = asyncio.create_task(edge.server.stop(30))
        edge.script.let_go(b"ab")
        assert (await call.read()).response.encoded == b"ba"
        assert await call.read() is grpc.aio.EOF
        await asyncio.wait_for(stopping, 10)


def counted(edge: Edge, code: str) -> float:
    return edge.metric("lapis_request_seconds_count", method="TranslateStream", model="m", version="1", code=code)
