"""From settings to connections: whom a call goes to, and what is found there before the load begins."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any

import grpc
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

from bench.errors import BenchError
from bench.streaming import StreamCaller
from bench.unary import UnaryCaller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bench.drive import Caller
    from bench.orders import Order
    from bench.outcome import Reply
    from bench.settings import BenchSettings

# Ours are the only calls: each is sent once and counted as it ends, and connections are not shared unnoticed.
_PLAIN: list[tuple[str, str | int]] = [
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
_BALANCED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_RETRYING: list[tuple[str, str | int]] = [
    *_PLAIN[1:],
    ("grpc.service_config", json.dumps(_BALANCED)),
    ("grpc.per_rpc_retry_buffer_size", 64 * 2**20),
]


class InTurn:
    """Several callers, each of which takes the next call."""

    def __init__(self, callers: list[Caller]) -> None:
        self._next = cycle(callers)

    async def call(self, order: Order, remaining: float) -> Reply:
        """Returns what the one whose turn it is got back."""
        return await next(self._next).call(order, remaining)


@asynccontextmanager
async def connected(settings: BenchSettings) -> AsyncIterator[Caller]:
    """Connects as the settings say; closes the connections, and with them what is still under way, at the end."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel) for channel in _channels(settings)]
        await asyncio.gather(*(_ready(channel, settings.server, settings.connect_timeout) for channel in channels))
        if settings.stream:
            yield InTurn([await stack.enter_async_context(StreamCaller(channel)) for channel in channels])
        else:
            yield InTurn([UnaryCaller(channel, settings.deadline_as) for channel in channels])


async def check(settings: BenchSettings) -> None:
    """Raises BenchError unless every server answers and has the model ready within the time allowed."""
    for address in settings.addresses:
        async with grpc.aio.insecure_channel(address, options=_PLAIN) as channel:
            await _ready(channel, address, settings.connect_timeout)
            await _model_ready(channel, address, settings)


def _channels(settings: BenchSettings) -> list[grpc.aio.Channel]:
    if settings.balanced:
        target = "ipv4:" + ",".join(map(_resolved, settings.addresses))
        return [grpc.aio.insecure_channel(target, options=_RETRYING) for _ in range(settings.connections)]
    targets = cycle(settings.addresses)
    several = max(settings.connections, len(settings.addresses))
    return [grpc.aio.insecure_channel(next(targets), options=_PLAIN) for _ in range(several)]


def _resolved(address: str) -> str:
    """Returns the address with its host as IPv4: gRPC takes several targets in that form only."""
    host, _, port = address.rpartition(":")
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError as error:
        raise BenchError(f"--server {address}: {error.strerror}") from error


async def _ready(channel: grpc.aio.Channel, address: str, timeout: float) -> None:  # noqa: ASYNC109 (told in the error)
    try:
        async with asyncio.timeout(timeout):
            await channel.channel_ready()
    except TimeoutError as error:
        raise BenchError(f"--server {address}: no gRPC server answers there within {timeout:g} s") from error


async def _model_ready(channel: grpc.aio.Channel, address: str, settings: BenchSettings) -> None:
    stub: Any = pb_grpc.TranslationServiceStub(channel)
    wanted = pb.GetModelRequest(model=settings.model, version=settings.model_version)
    end = time.monotonic() + settings.connect_timeout
    while True:
        try:
            model = (await stub.GetModel(wanted, timeout=settings.connect_timeout)).model
        except grpc.aio.AioRpcError as error:
            raise BenchError(f"--server {address}: {error.code().name}: {error.details()}") from error
        if model.state == pb.MODEL_STATE_READY:
            return
        if time.monotonic() > end:
            state = pb.ModelState.Name(model.state).removeprefix("MODEL_STATE_")
            raise BenchError(f"--server {address}: model {model.name} version {model.version} is {state}")
        await asyncio.sleep(0.1)
