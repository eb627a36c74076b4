from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from lapis.bulk import Outcome, translate_files
from lapis.client import AsyncClient, QueueFull, Translation, TranslationError, Unreachable
from lapis.plan import Job
from lapis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from conftest import Server


class Waits:
    """Stands in for the passing of time and remembers how long was waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def retry(max_time: float, waits: Callable[[float], Awaitable[None]]) -> Retry:
    """Returns a Retry without the spread of its waits."""
    return Retry(max_time, waits, lambda *_: 1.0)


def jobs(folder: Path, *pictures: bytes) -> list[Job]:
    made = [Job(folder / f"{number}.in", folder / f"{number}.out") for number in range(len(pictures))]
    for job, picture in zip(made, pictures, strict=True):
        job.source.write_bytes(picture)
    return made


async def bulk(
    address: str, work: Iterable[Job], *, concurrency: int = 2, patience: Retry | None = None, streams: int = 1
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    async with AsyncClient(address) as client:
        await translate_files(
            client,
            work,
            {},
            concurrency=concurrency,
            retry=patience or Retry(0),
            report=outcomes.append,
            streams=streams,
        )
    return outcomes


async def test_every_picture_is_translated_once(server: Server, tmp_path: Path) -> None:
    pictures = [str(number).encode() for number in range(20)]
    work = jobs(tmp_path, *pictures)
    outcomes = await bulk(server.address, work, concurrency=3)
    assert {outcome.job for outcome in outcomes} == set(work)
    assert [job.target.read_bytes() for job in work] == [b"translated " + picture for picture in pictures]
    assert sorted(request.encoded for request in server.service.requests) == sorted(pictures)


async def test_the_pipe_is_kept_full(server: Server, tmp_path: Path) -> None:
    server.service.barrier = threading.Barrier(8)  # no picture is answered until eight are there
    outcomes = await bulk(server.address, jobs(tmp_path, *[b"meet"] * 16), concurrency=8)
    assert all(isinstance(outcome.result, Translation) for outcome in outcomes)


async def test_no_more_are_in_flight_than_was_asked_for(server: Server, tmp_path: Path) -> None:
    server.service.barrier = threading.Barrier(3)
    outcomes = await bulk(server.address, jobs(tmp_path, *[b"meet"] * 12), concurrency=3)
    assert len(outcomes) == 12
    assert server.service.most_in_flight == 3


async def test_failing_picture_does_not_stop_the_rest(server: Server, tmp_path: Path) -> None:
    work = jobs(tmp_path, b"a", b"fail INVALID_PICTURE", b"b")
    outcomes = {outcome.job: outcome.result for outcome in await bulk(server.address, work)}
    assert [isinstance(outcomes[job], Translation) for job in work] == [True, False, True]
    assert [job.target.exists() for job in work] == [True, False, True]


async def test_unreadable_and_unwritable_files_do_not_stop_the_rest(server: Server, tmp_path: Path) -> None:
    work = jobs(tmp_path, b"a", b"b", b"c")
    work[0].source.unlink()
    work[1].target.mkdir()
    outcomes = {outcome.job: type(outcome.result) for outcome in await bulk(server.address, work)}
    assert [outcomes[job] for job in work] == [FileNotFoundError, IsADirectoryError, Translation]


async def test_full_queue_is_waited_for_as_the_server_asks(server: Server, tmp_path: Path) -> None:
    waits = Waits()
    [outcome] = await bulk(server.address, jobs(tmp_path, b"fail once QUEUE_FULL"), patience=retry(60, waits))
    assert isinstance(outcome.result, Translation)
    assert waits.seconds == [0.125]


async def test_waiting_ends_when_its_time_is_up(server: Server, tmp_path: Path) -> None:
    waits = Waits()
    [outcome] = await bulk(server.address, jobs(tmp_path, b"fail QUEUE_FULL"), patience=retry(0.4, waits))
    assert isinstance(outcome.result, QueueFull)
    assert waits.seconds == [0.125] * 3
    # The server learns that these are not four requests.
    assert [request.previous_attempts for request in server.service.requests] == [0, 1, 2, 3]


async def test_waits_double_where_the_server_names_none(closed_address: str, tmp_path: Path) -> None:
    waits = Waits()
    with pytest.raises(Unreachable):
        await bulk(closed_address, jobs(tmp_path, b"a"), patience=retry(2, waits))
    assert waits.seconds == [0.25, 0.5, 1.0]


async def test_server_that_comes_back_gets_the_picture(
    closed_address: str, serve: Callable[[str], Server], tmp_path: Path
) -> None:
    servers: list[Server] = []

    async def meanwhile_it_starts(_: float) -> None:
        if not servers:
            servers.append(serve(closed_address))

    [outcome] = await bulk(closed_address, jobs(tmp_path, b"a"), patience=retry(60, meanwhile_it_starts))
    assert isinstance(outcome.result, Translation)
    assert len(servers[0].service.requests) == 1


async def test_bad_picture_is_not_sent_again(server: Server, tmp_path: Path) -> None:
    waits = Waits()
    [outcome] = await bulk(server.address, jobs(tmp_path, b"fail INFERENCE_FAILED"), patience=retry(60, waits))
    assert isinstance(outcome.result, TranslationError)
    assert (waits.seconds, len(server.service.requests)) == ([], 1)


async def test_server_that_stays_away_ends_it_all(closed_address: str, tmp_path: Path) -> None:
    work = jobs(tmp_path, *[b"a"] * 50)
    with pytest.raises(Unreachable, match=closed_address):
        await bulk(closed_address, work)
    assert not any(job.target.exists() for job in work)


async def test_jobs_are_taken_only_as_there_is_room_for_them(server: Server, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"hold")
    taken: list[Job] = []

    def a_million() -> Iterator[Job]:
        for number in range(1_000_000):
            taken.append(Job(tmp_path / "picture", tmp_path / str(number)))
            yield taken[-1]

    running = asyncio.ensure_future(bulk(server.address, a_million(), concurrency=4))
    for _ in range(4):
        assert await asyncio.to_thread(server.service.holding.acquire, timeout=30)
    assert len(taken) == 4
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    server.service.release.set()


async def test_what_is_not_much_goes_over_one_call(server: Server, tmp_path: Path) -> None:
    await bulk(server.address, jobs(tmp_path, *[b"a"] * 30), concurrency=4)
    assert server.service.streams == 1


async def test_stream_that_breaks_is_taken_up_again_with_what_was_not_answered(server: Server, tmp_path: Path) -> None:
    pictures = [b"%d" % number for number in range(20)]
    pictures[7] = b"break once UNAVAILABLE"
    work = jobs(tmp_path, *pictures)
    outcomes = await bulk(server.address, work, concurrency=4, patience=retry(60, Waits()))
    assert all(isinstance(outcome.result, Translation) for outcome in outcomes)
    assert [job.target.read_bytes() for job in work] == [b"translated " + picture for picture in pictures]
    sent = Counter(request.encoded for request in server.service.requests)
    assert sent[pictures[7]] == 2
    assert sent.total() <= 20 + 4  # only what was in hand was sent again
    assert server.service.streams == 2


async def test_picture_that_breaks_its_stream_fails_alone(server: Server, tmp_path: Path) -> None:
    work = jobs(tmp_path, b"a", b"break RESOURCE_EXHAUSTED", b"b", b"c")
    outcomes = {outcome.job: outcome.result for outcome in await bulk(server.address, work, concurrency=4)}
    assert [isinstance(outcomes[job], Translation) for job in work] == [True, False, True, True]
    error = outcomes[work[1]]
    assert isinstance(error, TranslationError)
    assert (error.reason, str(error)) == ("RESOURCE_EXHAUSTED", f"{server.address}: broken")


async def test_picture_that_fells_the_server_each_time_does_not_stop_the_rest(server: Server, tmp_path: Path) -> None:
    poison = b"break UNAVAILABLE"
    work = jobs(tmp_path, poison, *[b"%d" % number for number in range(12)])
    outcomes = await bulk(server.address, work, concurrency=2, patience=retry(6, Waits()))
    failed = [outcome for outcome in outcomes if not isinstance(outcome.result, Translation)]
    assert [outcome.job for outcome in failed] == [work[0]]
    assert isinstance(failed[0].result, Unreachable)
    assert server.service.streams <= 4  # it broke three; then it went alone


async def test_server_without_streams_is_told_at_once(server: Server, tmp_path: Path) -> None:
    waits = Waits()
    with pytest.raises(Unreachable, match="broken"):
        await bulk(server.address, jobs(tmp_path, b"break UNIMPLEMENTED"), patience=retry(60, waits))
    assert waits.seconds == []


async def test_servers_share_the_pictures(serve: Callable[..., Server], tmp_path: Path) -> None:
    two = [serve(), serve()]
    (tmp_path / "picture").write_bytes(b"a")

    def until_both_have_some() -> Iterator[Job]:
        for number in range(10_000):
            if all(server.service.requests for server in two):
                return
            yield Job(tmp_path / "picture", tmp_path / str(number))

    await bulk(",".join(server.address for server in two), until_both_have_some(), concurrency=4, streams=2)
    assert all(server.service.requests for server in two)


async def test_no_picture_fails_where_one_of_two_servers_is_replaced(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    staying, leaving = serve(), serve()
    (tmp_path / "picture").write_bytes(b"a")
    taken: list[Job] = []

    def some(count: int) -> Iterator[Job]:
        for _ in range(count):
            taken.append(Job(tmp_path / "picture", tmp_path / str(len(taken))))
            yield taken[-1]

    def watched() -> Iterator[Job]:
        while not leaving.service.requests and len(taken) < 10_000:
            yield from some(1)
        leaving.set_health(healthy=False)
        leaving.service.refuses = "NOT_READY"
        yield from some(50)
        leaving.stop()
        yield from some(50)

    address = f"{staying.address},{leaving.address}"
    outcomes = await bulk(address, watched(), concurrency=8, streams=2, patience=retry(60, Waits()))
    assert leaving.service.requests
    assert [outcome.job for outcome in outcomes if not isinstance(outcome.result, Translation)] == []
    assert {outcome.job for outcome in outcomes} == set(taken)


async def test_server_that_crashes_and_comes_back_gets_the_rest(serve: Callable[..., Server], tmp_path: Path) -> None:
    first = serve()
    servers = [first]
    work = jobs(tmp_path, b"a", b"hold", b"c")

    async def meanwhile_it_starts(_: float) -> None:
        if len(servers) == 1:
            servers.append(serve(first.address))
            servers[-1].service.release.set()

    async def crash() -> None:
        assert await asyncio.to_thread(first.service.held.wait, 30)
        await asyncio.to_thread(first.stop)

    crashing = asyncio.ensure_future(crash())
    outcomes = await bulk(first.address, work, concurrency=1, patience=retry(60, meanwhile_it_starts))
    await crashing
    assert all(isinstance(outcome.result, Translation) for outcome in outcomes)
    assert [request.encoded for request in servers[1].service.requests] == [b"hold", b"c"]
