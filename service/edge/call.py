"""What is known of the request in hand."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc
from opentelemetry.trace import INVALID_SPAN

from service.telemetry import tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from service.edge.tokens import Tokens
    from service.translator import Translation

    Context = grpc.aio.ServicerContext[Any, Any]

# A caller whose deadline passes cancels on its own clock, which may run ahead of ours by this much (seconds).
_JITTER = 0.1
# Digests of tokens are of use in this process alone.
_SALT = secrets.token_bytes(16)


@dataclass(eq=False, slots=True)
class Call:
    """One request, filled in while it is served: a unary call, or a picture of a stream.

    `method` is its path without the leading slash; `started` and `deadline` are on the monotonic clock. The model is
    noted only once it was found in the repository: no name that a caller makes up becomes a label.
    """

    method: str
    context: Context
    deadline: float
    started: float = field(default_factory=time.monotonic)
    request_id: str = ""
    model: str = ""
    version: str = ""
    reason: str = ""
    sent_bytes: int = 0
    made: Translation | None = None
    span: Span = INVALID_SPAN

    @property
    def name(self) -> str:
        """The method's name without its service."""
        return self.method.rpartition("/")[2]

    def given_up(self) -> grpc.StatusCode:
        """Tell why the request was cancelled: gRPC does so when its caller leaves, and when the deadline passes."""
        too_late = time.monotonic() > self.deadline - _JITTER
        return grpc.StatusCode.DEADLINE_EXCEEDED if too_late else grpc.StatusCode.CANCELLED

    def headers(self) -> dict[str, str]:
        """Return the metadata that came with the call, but for what is binary."""
        metadata = self.context.invocation_metadata() or ()
        return {key: value for key, value in metadata if isinstance(value, str)}

    def log_fields(self) -> dict[str, str]:
        """Return what ties log lines to the request."""
        return {"request_id": self.request_id, **tracing.ids(self.headers)}


current: ContextVar[Call] = ContextVar("current")
"""The request that the running task serves."""


def deadline_of(context: Context) -> float:
    """Return when the caller stops waiting, on the monotonic clock; infinity where it waits for ever."""
    remaining = context.time_remaining()
    return math.inf if remaining is None else time.monotonic() + remaining


def caller_of(context: Context, tokens: Tokens | None, *, by_token: bool) -> str:
    """Return what tells this caller from others: its address, or by token the name that goes with it.

    Where the server knows no tokens, a digest of the authorization metadata stands for the name.
    """
    if by_token and tokens:
        return "name:" + tokens.name(context.invocation_metadata())
    if by_token:
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                return _digest(value if isinstance(value, bytes) else value.encode())
    return address_of_peer(context.peer())


@lru_cache(maxsize=1024)
def address_of_peer(peer: str) -> str:
    """Return a peer's address without its port, which differs from connection to connection of one caller."""
    kind, _, rest = peer.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return peer
    return unquote(rest.rpartition(":")[0]).strip("[]")


def _digest(token: bytes) -> str:
    return "token:" + hashlib.blake2b(token, key=_SALT, digest_size=16).hexdigest()
