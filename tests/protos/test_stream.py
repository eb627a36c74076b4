from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from lapis.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidPicture,
    QueueFull,
    Request,
    StreamResult,
    Tensor,
    Translation,
    TranslationError,
    Unreachable,
)
from lapis.v1 import translation_pb2 as v1

if TYPE_CHECKING:
    from conftest import Server

    Stream = Callable[..., list[StreamResult]]


def _in_threads(address: str, requests: Iterable[Any], **options: object) -> list[StreamResult]:
    with Client(address) as client:
        return list(client.translate_stream(requests, **options))


def _in_asyncio(address: str, requests: Iterable[Any], **options: object) -> list[StreamResult]:
    async def all_results() -> list[StreamResult]:
        async with AsyncClient(address) as client:
            return [result async for result in client.translate_stream(_later(requests), **options)]

    return asyncio.run(all_results())


async def _later(requests: Iterable[Any]) -> AsyncIterator[Any]:
    for request in requests:
        await asyncio.sleep(0)
        yield request


@pytest.fixture(params=[_in_threads, _in_asyncio])
def stream(request: pytest.FixtureRequest) -> Stream:
    """Sends a stream with a client of its own: what holds for one client must hold for the other."""
    return request.param


def test_every_picture_is_answered_on_one_call(server: Server, stream: Stream) -> None:
    sent = [Request(str(number).encode(), request_id=f"r{number}") for number in range(100)]
    results = stream(server.address, sent)
    answered = {result.request_id: result.get().picture for result in results}
    assert answered == {f"r{number}": b"translated %d" % number for number in range(100)}
    assert all(result.request in sent for result in results)
    assert server.service.streams == 1


def test_nothing_to_send_is_no_result(server: Server, stream: Stream) -> None:
    assert stream(server.address, []) == []


def test_answers_come_as_they_are_ready(server: Server) -> None:
    with Client(server.address) as client:
        results = client.translate_stream([b"hold", b"quick"])
        assert next(results).get().picture == b"translated quick"
        server.service.release.set()
        assert next(results).get().picture == b"translated hold"


async def test_answers_come_as_they_are_ready_in_asyncio(server: Server) -> None:
    async with AsyncClient(server.address) as client:
        results = client.translate_stream([b"hold", b"quick"])
        assert (await anext(results)).get().picture == b"translated quick"
        server.service.release.set()
        assert (await anext(results)).get().picture == b"translated hold"
        await results.aclose()


def test_failing_picture_is_a_result_and_not_the_end(server: Server, stream: Stream) -> None:
    pictures = [b"a", b"fail QUEUE_FULL", b"b", b"fail INVALID_PICTURE", b"fail QUOTA_SPENT"]
    results = stream(server.address, [Request(picture, request_id=picture.decode()) for picture in pictures])
    outcomes = {result.request_id: result.outcome for result in results}
    assert isinstance(outcomes["a"], Translation)
    assert isinstance(outcomes["b"], Translation)
    full, bad, newer = (outcomes[f"fail {reason}"] for reason in ("QUEUE_FULL", "INVALID_PICTURE", "QUOTA_SPENT"))
    assert isinstance(full, QueueFull)
    assert (full.retry_after, full.code, full.request_id) == (
        0.125,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "fail QUEUE_FULL",
    )
    assert isinstance(bad, InvalidPicture)
    assert (str(bad), bad.retry_after) == ("sentence of INVALID_PICTURE", None)
    assert type(newer) is TranslationError
    assert newer.reason == "QUOTA_SPENT"


def test_result_without_a_translation_raises_its_error(server: Server, stream: Stream) -> None:
    [result] = stream(server.address, [b"fail INFERENCE_FAILED"])
    with pytest.raises(TranslationError, match="sentence of INFERENCE_FAILED"):
        result.get()


def test_file_that_cannot_be_read_fails_alone(server: Server, stream: Stream, tmp_path: Path) -> None:
    good, none = tmp_path / "good.png", tmp_path / "none.png"
    good.write_bytes(b"good")
    outcomes = {result.request.picture: result.outcome for result in stream(server.address, [none] * 40 + [good])}
    assert isinstance(outcomes[good], Translation)
    error = outcomes[none]
    assert isinstance(error, InvalidPicture)
    assert str(error) == f"cannot read {none}: No such file or directory"
    assert isinstance(error.__cause__, FileNotFoundError)


def test_options_of_the_stream_and_of_a_picture_reach_the_server(server: Server, stream: Stream) -> None:
    tensor = Tensor(b"012345", height=1, width=2, channels=3)
    own = Request(tensor, timeout=0.5, priority="high", fit="pad")
    stream(server.address, [own, b"other"], timeout=7, priority="low", fit="tile", model="m", format="raw")
    by_timeout = {request.timeout.ToMilliseconds(): request for request in server.service.requests}
    assert by_timeout[500].tensor == v1.Tensor(
        data=b"012345", height=1, width=2, channels=3, sample_type=v1.SAMPLE_TYPE_UINT8
    )
    assert (by_timeout[500].priority, by_timeout[500].fit) == (v1.PRIORITY_HIGH, v1.FIT_PAD)
    assert (by_timeout[7000].priority, by_timeout[7000].fit) == (v1.PRIORITY_LOW, v1.FIT_TILE)
    assert {request.model for request in server.service.requests} == {"m"}


def test_each_picture_has_the_client_s_timeout(server: Server) -> None:
    with Client(server.address, timeout=12) as client:
        list(client.translate_stream([b"a"]))
    assert server.service.requests[0].timeout.ToMilliseconds() == 12_000


def test_deadline_is_that_of_the_whole_call(server: Server, stream: Stream) -> None:
    with pytest.raises(DeadlineExceeded):
        stream(server.address, [b"hold"], deadline=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"fit": "squash"}, "fit must be"), ({"request_id": "1"}, "each picture's own"), ({"window": 0}, "at least 1")],
)
def test_wrong_options_are_refused_before_anything_is_sent(
    server: Server, stream: Stream, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stream(server.address, [b"a"], **options)
    assert server.service.streams == 0


@pytest.mark.parametrize(
    ("request_id", "message"),
    [("line\nbreak", "printable ASCII"), ("é", "printable ASCII"), ("x" * 129, "at most 128"), ("twice", "in hand")],
)
def test_id_that_no_answer_could_be_matched_by_is_refused(
    server: Server, stream: Stream, request_id: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stream(server.address, [Request(b"hold", request_id="twice"), Request(b"b", request_id=request_id)])


def test_error_of_the_caller_s_own_iterator_is_raised_where_results_are_read(server: Server, stream: Stream) -> None:
    def requests() -> Iterator[bytes]:
        yield b"hold"
        raise LookupError("no more pictures here")

    with pytest.raises(LookupError, match="no more pictures here"):
        stream(server.address, requests())


def test_call_that_breaks_is_an_error_after_what_was_answered(server: Server, stream: Stream) -> None:
    with pytest.raises(Unreachable, match=server.address):
        stream(server.address, [b"break UNAVAILABLE"])


def test_stream_is_not_sent_again_by_itself(server: Server, stream: Stream) -> None:
    with pytest.raises(Unreachable):
        stream(server.address, [b"break once UNAVAILABLE"])
    assert len(server.service.requests) == 1


def test_server_that_leaves_without_all_answers_is_an_error(server: Server, stream: Stream) -> None:
    with pytest.raises(Unreachable, match="ended the stream with 2 pictures unanswered"):
        stream(server.address, [b"hold", b"leave"])


def test_answer_to_nothing_that_was_asked_is_an_error(server: Server, stream: Stream) -> None:
    with pytest.raises(TranslationError, match="answered 'astray', which was not asked"):
        stream(server.address, [b"stray"])


class Source:
    """Pictures without end; remembers how many were taken, and tells when as many as it waits for were."""

    def __init__(self, awaited: int) -> None:
        self.taken = 0
        self.awaited = awaited
        self.reached = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.taken += 1
            if self.taken == self.awaited:
                self.reached.set()
            yield b"picture"


def test_slow_reader_is_not_read_ahead_of(server: Server) -> None:
    source = Source(awaited=4)
    with Client(server.address) as client:
        results = client.translate_stream(source, window=4)
        for read in range(1, 50):
            next(results)
            assert source.taken <= read + 4
        assert source.reached.is_set()


async def test_slow_reader_is_not_read_ahead_of_in_asyncio(server: Server) -> None:
    source = Source(awaited=4)
    async with AsyncClient(server.address) as client, aclosing(client.translate_stream(source, window=4)) as results:
        for read in range(1, 50):
            await anext(results)
            assert source.taken <= read + 4
        assert source.reached.is_set()


def test_nothing_is_read_ahead_while_the_server_holds_what_it_has(server: Server) -> None:
    taken: list[int] = []

    def requests() -> Iterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield b"hold"

    with Client(server.address) as client:
        results = client.translate_stream(requests(), window=8)
        reader = threading.Thread(target=lambda: list(results))
        reader.start()
        assert all(server.service.holding.acquire(timeout=30) for _ in range(8))
        assert len(taken) == 8
        server.service.release.set()
        reader.join(30)
    assert len(taken) == 1000


def test_caller_who_leaves_early_cancels_the_call(server: Server) -> None:
    with Client(server.address) as client:
        for _ in client.translate_stream(Source(1)):
            break
        assert server.service.cancelled.wait(30)


async def test_caller_who_leaves_early_cancels_the_call_in_asyncio(server: Server) -> None:
    async with AsyncClient(server.address) as client:
        async with aclosing(client.translate_stream(Source(1))) as results:
            async for _ in results:
                break
        assert await asyncio.to_thread(server.service.cancelled.wait, 30)
        assert [task for task in asyncio.all_tasks() if "AsyncStream" in repr(task)] == []


async def test_cancelled_reader_cancels_the_call(server: Server) -> None:
    async def read() -> None:
        async with AsyncClient(server.address) as client, aclosing(client.translate_stream([b"hold"])) as results:
            await anext(results)

    reading = asyncio.ensure_future(read())
    assert await asyncio.to_thread(server.service.held.wait, 30)
    reading.cancel()
    assert await asyncio.to_thread(server.service.cancelled.wait, 30)


def test_streams_of_many_threads_share_a_client(server: Server) -> None:
    answers: list[list[bytes]] = [[] for _ in range(8)]
    with Client(server.address) as client:

        def work(number: int) -> None:
            pictures = [b"%d-%d" % (number, one) for one in range(30)]
            answers[number] = sorted(result.get().picture for result in client.translate_stream(pictures))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert answers == [sorted(b"translated %d-%d" % (number, one) for one in range(30)) for number in range(8)]


def test_each_picture_of_a_stream_may_have_its_own_seed(server: Server, stream: Stream) -> None:
    pictures = [Request(b"cat", request_id=f"{seed}", seed=seed) for seed in (0, 7, -(2**63), 2**63 - 1)]
    results = stream(server.address, [*pictures, Request(b"dog", request_id="3")], seed=3)
    assert all(result.get().seed == int(result.request_id) for result in results)
    assert len(results) == 5


def test_seed_that_cannot_be_is_refused_before_anything_is_sent(server: Server, stream: Stream) -> None:
    with pytest.raises(ValueError, match="seed must be from"):
        stream(server.address, [b"cat"], seed=2**63)
    assert server.service.streams == 0
