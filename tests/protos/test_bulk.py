from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from lapis.bulk import Outcome, translate_files
from lapis.client import AsyncClient, QueueFull, Translation, TranslationError, Unreachable
from lapis.plan import Job
from lapis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
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


async def bulk(address: str, work: list[Job], *, concurrency: int = 2, patience: Retry | None = None) -> list[Outcome]:
    outcomes: list[Outcome] = []
    async with AsyncClient(address) as client:
        await translate_files(
            client, work, {}, concurrency=concurrency, retry=patience or Retry(0), report=outcomes.append
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
