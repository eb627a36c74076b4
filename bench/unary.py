"""Calls of Translate, made to cost the caller as little as they can."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Literal

import grpc
from lapis.v1 import translation_pb2 as pb

from bench.outcome import BY_CALLER, CANCELLED, OK, Reply
from bench.wire import METHOD, reason_of, timeout_field

if TYPE_CHECKING:
    from bench.orders import Order


class UnaryCaller:
    """Calls over one connection; the requests are serialised already."""

    def __init__(self, channel: grpc.aio.Channel, deadline_as: Literal["call", "picture"]) -> None:
        self._translate: Any = channel.unary_unary(
            f"{METHOD}/Translate", response_deserializer=pb.TranslateResponse.FromString
        )
        self._is_call = deadline_as == "call"

    async def call(self, order: Order, remaining: float) -> Reply:
        """Returns what came back; cancels by itself where the order says so."""
        by_caller = False

        def cancel() -> None:
            nonlocal by_caller
            by_caller = call.cancel()

        call = self._begin(order, remaining)
        timer = asyncio.get_running_loop().call_later(order.cancel_after, cancel) if order.is_cancelling else None
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            return Reply(error.code().name, reason_of(error.trailing_metadata()))
        except asyncio.CancelledError:
            if by_caller:
                return Reply(CANCELLED, BY_CALLER)
            raise
        finally:
            if timer:
                timer.cancel()
        return Reply(OK, "", answer.timings, f"{answer.model}/{answer.version}", answer.cached)

    def _begin(self, order: Order, remaining: float) -> Any:  # noqa: ANN401 (so is the stub)
        if remaining == math.inf:
            return self._translate(order.request)
        if self._is_call:
            return self._translate(order.request, timeout=remaining)
        return self._translate(order.request + timeout_field(remaining))
