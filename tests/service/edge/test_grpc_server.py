from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from lapis.v1 import translation_pb2 as pb
from structlog.testing import capture_logs

from service.edge.grpc_server import options
from service.errors import StartupError
from service.settings import ServeSettings

if TYPE_CHECKING:
    from tests.service.edge.conftest import Edged, Reason

Code = grpc.StatusCode


def chosen(**settings: object) -> dict[str, int]:
    return dict(options(ServeSettings(**settings), reuse_port=False))


def test_connections_live_for_ever_unless_an_age_is_set() -> None:
    assert not [name for name in chosen() if "age" in name.split("_")]
    aged = chosen(max_connection_age=90, max_connection_age_grace=2.5)
    assert aged["grpc.max_connection_age_ms"] == 90_000
    assert aged["grpc.max_connection_age_grace_ms"] == 2500


def test_pings_go_by_the_settings() -> None:
    told = chosen(keepalive_time=7, keepalive_timeout=3, min_ping_interval=0.5)
    assert told["grpc.keepalive_time_ms"] == 7000
    assert told["grpc.keepalive_timeout_ms"] == 3000
    assert told["grpc.http2.min_recv_ping_interval_without_data_ms"] == 500


def test_time_beyond_what_grpc_can_hold_is_its_longest() -> None:
    assert chosen(keepalive_time=1e12)["grpc.keepalive_time_ms"] == 2**31 - 1
    assert chosen(max_connection_age=1e-6)["grpc.max_connection_age_ms"] == 1, "and not 0, which is never"


async def test_old_connection_is_ended_gently(edged: Edged) -> None:
    async with edged(max_connection_age=0.2) as edge:
        edge.script.hold(b"ab")
        call = edge.translate(b"ab")
        # The connection in use becomes old; new calls go by a new one.
        await edge.until(lambda: len(edge.script.orders) == 1)
        first = edge.channel.get_state()
        assert first is grpc.ChannelConnectivity.READY
        await edge.channel.wait_for_state_change(first)
        assert (await edge.translate(b"cd")).encoded == b"dc"
        edge.script.let_go(b"ab")
        assert (await call).encoded == b"ba"


async def test_port_is_shared_only_with_those_who_share_it(edged: Edged) -> None:
    async with edged() as alone, edged() as other:
        with pytest.raises(StartupError, match="Address already in use"):
            await other.server.start("127.0.0.1", alone.port)
        with pytest.raises(StartupError, match="Address already in use"):
            await other.server.start("127.0.0.1", alone.port, reuse_port=True)


async def test_servers_share_a_port_if_all_want_to(edged: Edged) -> None:
    async with edged(reuse_port=True) as one, edged(port=one.port, reuse_port=True) as other:
        assert one.port == other.port
        answered = 0
        while not (one.script.orders and other.script.orders):
            # The kernel deals out connections, so each call is given one of its own.
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{one.port}", options=options) as channel:
                call: Any = channel.unary_unary(
                    "/lapis.v1.TranslationService/Translate", response_deserializer=pb.TranslateResponse.FromString
                )
                answer = await call(pb.TranslateRequest(encoded=b"ab").SerializeToString())
            assert answer.encoded == b"ba"
            answered += 1
        assert len(one.script.orders) + len(other.script.orders) == answered


async def test_what_is_no_message_is_told_so_and_fills_no_log(edged: Edged, reason: Reason) -> None:
    async with edged() as edge:
        raw: Any = edge.channel.unary_unary("/lapis.v1.TranslationService/Translate")
        with pytest.raises(grpc.aio.AioRpcError) as refused, capture_logs() as logs:
            await raw(b"\xff\xff\xff")
    assert (refused.value.code(), reason(refused.value)) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_method_that_does_not_exist_is_unimplemented(edged: Edged) -> None:
    async with edged() as edge:
        for service in ("lapis.v1.TranslationService", "lapis.v1.Nobody"):
            raw: Any = edge.channel.unary_unary(f"/{service}/Nothing")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await raw(b"")
            assert refused.value.code() is Code.UNIMPLEMENTED


async def test_deadline_that_the_engine_is_told_is_the_earlier_of_two(edged: Edged) -> None:
    async with edged() as edge:
        for seconds, timeout in ((1000, 10), (10, 1000), (1000, None), (None, 1000)):
            request = pb.TranslateRequest(encoded=b"ab")
            if seconds:
                request.timeout.FromSeconds(seconds)
            await edge.stub.Translate(request, timeout=timeout)
        await edge.translate(b"ab")
        now = asyncio.get_running_loop().time()
    left = [order.deadline - now for order in edge.script.orders]
    assert left[0] < 11
    assert left[1] < 11
    assert all(900 < one < 1100 for one in left[2:4])
    assert left[4] == float("inf")
