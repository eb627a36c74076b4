from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest

from bench.connect import check, connected
from bench.errors import BenchError
from bench.orders import OrderBook

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from bench.settings import BenchSettings
    from tests.bench.conftest import Servicer

    Run = Callable[[], AbstractAsyncContextManager[tuple[Servicer, str]]]
    Short = Callable[..., BenchSettings]


async def calls(settings: BenchSettings, number: int) -> list[str]:
    book = OrderBook(settings, random.Random(0))
    async with connected(settings) as caller:
        return [(await caller.call(book.draw(), math.inf)).code for _ in range(number)]


@pytest.mark.parametrize("stream", [False, True])
async def test_several_servers_take_turns(server: Run, short: Short, stream: bool) -> None:
    async with server() as (first, one), server() as (second, other):
        assert await calls(short(server=f"{one},{other}", stream=stream), 6) == ["OK"] * 6
    assert (len(first.requests), len(second.requests)) == (3, 3)


async def test_balanced_calls_find_the_server_that_is_left(server: Run, short: Short) -> None:
    async with server() as (left, one):
        async with server() as (_, other):
            gone = other
        settings = short(server=f"{one},{gone}", balanced=True, connections=2)
        assert await calls(settings, 4) == ["OK"] * 4
    assert len(left.requests) == 4


async def test_address_without_a_server_is_told_in_a_line(short: Short) -> None:
    with pytest.raises(BenchError, match=r"--server 127\.0\.0\.1:1: no gRPC server answers there within 0\.3 s"):
        await check(short(server="127.0.0.1:1", connect_timeout=0.3))


async def test_model_that_is_not_there_is_told_in_a_line(server: Run, short: Short) -> None:
    async with server() as (_, address):
        with pytest.raises(BenchError, match="NOT_FOUND: no model cats"):
            await check(short(server=address, model="cats"))


async def test_model_that_does_not_get_ready_is_told_in_a_line(server: Run, short: Short) -> None:
    async with server() as (_, address):
        with pytest.raises(BenchError, match="model loading version 1 is LOADING"):
            await check(short(server=address, model="loading", connect_timeout=0.2))


async def test_host_that_has_no_address_is_told_in_a_line(short: Short) -> None:
    with pytest.raises(BenchError, match=r"--server nowhere\.invalid:1: "):
        await calls(short(server="nowhere.invalid:1", balanced=True), 1)
