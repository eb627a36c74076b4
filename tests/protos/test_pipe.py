from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from lapis.client import AsyncClient, DeadlineExceeded, NotReady, QueueFull, Request
from lapis.pipe import Pipe, StreamBroken

if TYPE_CHECKING:
    from conftest import Server


@asynccontextmanager
async def pipe(
    server: Server, *, streams: int = 1, silence: float = 60.0, per_picture: float = 60.0
) -> AsyncIterator[Pipe]:
    async with AsyncClient(server.address, timeout=per_picture) as client, asyncio.TaskGroup() as group:
        made = Pipe(client, group, {}, streams=streams, window=64, silence=silence)
        yield made
        made.close()


async def test_many_wait_on_one_stream_and_each_gets_its_own(server: Server) -> None:
    pictures = [b"%d" % number for number in range(30)]
    async with pipe(server) as shared:
        answers = await asyncio.gather(*[shared.translate(Request(picture)) for picture in pictures])
    assert [answer.picture for answer in answers] == [b"translated " + picture for picture in pictures]
    assert server.service.streams == 1
    assert all(request.timeout.seconds == 60 for request in server.service.requests)


async def test_error_of_a_picture_is_raised_to_who_sent_it(server: Server) -> None:
    async with pipe(server) as shared:
        full, fine = await asyncio.gather(
            shared.translate(Request(b"fail QUEUE_FULL")), shared.translate(Request(b"a")), return_exceptions=True
        )
    assert isinstance(full, QueueFull)
    assert not isinstance(fine, BaseException)


async def test_all_who_wait_learn_that_their_stream_broke(server: Server) -> None:
    async with pipe(server) as shared:
        outcomes = await asyncio.gather(
            *[shared.translate(Request(order)) for order in (b"hold", b"hold", b"break UNAVAILABLE")],
            return_exceptions=True,
        )
        assert all(isinstance(outcome, StreamBroken) for outcome in outcomes)
        assert (await shared.translate(Request(b"a"))).picture == b"translated a"
    assert server.service.streams == 2


async def test_stream_to_a_server_that_is_not_ready_is_left(server: Server) -> None:
    async with pipe(server) as shared:
        with pytest.raises(NotReady):
            await shared.translate(Request(b"fail NOT_READY"))
        await shared.translate(Request(b"a"))
    assert server.service.streams == 2


async def test_long_run_comes_by_other_servers_too(server: Server) -> None:
    async with pipe(server) as shared:
        for _ in range(10):
            await asyncio.gather(*[shared.translate(Request(b"a")) for _ in range(50)])
    assert server.service.streams == 5  # of 32, 64, 128, 256 and the rest


async def test_pictures_are_spread_over_streams(server: Server) -> None:
    async with pipe(server, streams=3) as shared:
        await asyncio.gather(*[shared.translate(Request(b"a")) for _ in range(30)])
    assert server.service.streams == 3


async def test_server_that_says_nothing_is_given_up(server: Server) -> None:
    async with pipe(server, per_picture=0.1, silence=0.1) as shared:
        with pytest.raises(StreamBroken) as broken:
            await shared.translate(Request(b"hold"))
        assert isinstance(broken.value.error, DeadlineExceeded)
        assert (await shared.translate(Request(b"a"))).picture == b"translated a"


async def test_idle_stream_is_not_given_up(server: Server) -> None:
    async with pipe(server, per_picture=0.5, silence=0.5) as shared:
        await shared.translate(Request(b"a"))
        await asyncio.to_thread(server.service.cancelled.wait, 1.2)
        await shared.translate(Request(b"a"))
    assert server.service.streams == 1
