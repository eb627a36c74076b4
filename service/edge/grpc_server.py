"""The gRPC server: our services, health and reflection on one port."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from lapis.v1 import repository_pb2_grpc, translation_pb2_grpc

from service.edge import repository, translation
from service.edge.connections import OpenCalls, hang_up, until_received
from service.edge.health import Health
from service.edge.interceptor import CallInterceptor
from service.edge.ledger import Ledger
from service.edge.listen import address_of, check_free
from service.edge.load_report import LoadReport
from service.edge.repository import RepositoryServicer
from service.edge.tls import credentials
from service.edge.tokens import Tokens
from service.edge.translation import TranslationServicer
from service.errors import StartupError

if TYPE_CHECKING:
    from service.edge.repository import Life
    from service.models.registry import Registry
    from service.settings import ServeSettings
    from service.telemetry.metrics import Metrics
    from service.translator import Translator

# Seconds that a caller is given to receive what was written to it before its connection is ended.
_LAST_BYTES = 1.0
_SERVICES = (translation.SERVICE, repository.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)


class GrpcServer:
    """Answers over gRPC from `start` to `stop`; `health` is to be told of every change in the registry."""

    def __init__(
        self, registry: Registry, translator: Translator, metrics: Metrics, settings: ServeSettings, life: Life
    ) -> None:
        """Raises StartupError where certificates or tokens cannot be used."""
        self.health = Health(registry)
        self._settings = settings
        self._credentials = credentials(settings)
        tokens = Tokens(settings.tokens) if settings.tokens else None
        self._draining = asyncio.Event()
        load = LoadReport(metrics.busy_ratio, lambda: _crowding(registry, settings.max_queue))
        ledger = Ledger(metrics, load, settings.slow_request)
        self._interceptor = CallInterceptor(ledger, load if settings.load_reports else None, tokens)
        self._translation = TranslationServicer(registry, translator, ledger, settings, self._draining, tokens=tokens)
        self._repository = RepositoryServicer(registry, life, allowed=settings.model_control)
        self._last_calls = OpenCalls()
        self._server: grpc.aio.Server | None = None
        self._port = 0

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen, and return the port, chosen where `port` is 0; raises StartupError.

        `reuse_port` lets other processes of the same user listen on it too, and the kernel spread callers among them.
        """
        check_free(host, port, reuse_port=reuse_port)
        server = grpc.aio.server(
            interceptors=[self._interceptor], options=options(self._settings, reuse_port=reuse_port)
        )
        handlers: Any = _Handlers(server)
        translation_pb2_grpc.add_TranslationServiceServicer_to_server(self._translation, handlers)
        repository_pb2_grpc.add_RepositoryServiceServicer_to_server(self._repository, handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, handlers)
        reflection.enable_server_reflection(_SERVICES, server)
        try:
            bound = self._open(server, address_of(host, port))
        except RuntimeError as error:
            raise StartupError(f"gRPC cannot listen on {address_of(host, port)}") from error
        await self.health.update()
        await server.start()
        self._server, self._port = server, bound
        return bound

    def _open(self, server: grpc.aio.Server, address: str) -> int:
        if self._credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._credentials)

    def drain(self) -> None:
        """Let streams come to an end: each finishes what it has in hand, and is then told to go elsewhere.

        To be called when the registry has begun to drain: what comes from now on is refused.
        """
        if not self._draining.is_set():
            self._draining.set()
            self._last_calls, self._interceptor.calls = self._interceptor.calls, OpenCalls()

    async def stop(self, grace: float) -> None:
        """Give the last answers `grace` seconds to get through, then end all connections and cut off what is left."""
        self.drain()
        server, self._server = self._server, None
        if server:
            end = time.monotonic() + grace
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self.health.close()
                    await self._last_calls.until_none()
                    async with asyncio.timeout(_LAST_BYTES):
                        await until_received(self._port)
            # Without an await in between, so that callers do not come back before the port is closed.
            hang_up(self._port)
            await server.stop(max(0.0, end - time.monotonic()))


class _Handlers:
    """A server as the stubs see it, on which methods are found by name at each call.

    The stubs would have them registered one by one as well, but then gRPC for asyncio (1.76 to 1.85) waits for all of
    them anew at each call of any.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Leave it at the handlers that go by name."""


def options(settings: ServeSettings, *, reuse_port: bool) -> list[tuple[str, int]]:
    """Return gRPC's own options."""
    chosen = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # Answers are as large as what was asked for, which admission bounds.
        ("grpc.max_send_message_length", -1),
        # Without workers a second server on the port must fail, not share it unnoticed.
        ("grpc.so_reuseport", int(reuse_port)),
        # Twice what the server takes in: a caller is refused, which it sees, rather than held back, which it does not;
        # and one that has lost its measure cannot open calls without end on one connection.
        ("grpc.max_concurrent_streams", 2 * settings.max_total_queue),
        ("grpc.keepalive_time_ms", _milliseconds(settings.keepalive_time)),
        ("grpc.keepalive_timeout_ms", _milliseconds(settings.keepalive_timeout)),
        # Callers, and we, may find out whether the other is still there when no call is open, and as often as it takes.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _milliseconds(settings.min_ping_interval)),
        ("grpc.http2.max_ping_strikes", 2),
    ]
    if settings.max_connection_age:
        chosen += [
            ("grpc.max_connection_age_ms", _milliseconds(settings.max_connection_age)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(settings.max_connection_age_grace)),
        ]
    return chosen


def _milliseconds(seconds: float) -> int:
    # gRPC takes no more than an int of 32 bits, and 0 for an age means never.
    return min(max(1, round(seconds * 1000)), 2**31 - 1)


def _crowding(registry: Registry, max_queue: int) -> float:
    """Return the share of its places that the fullest of the models has taken."""
    held = [model.loaded.admission.requests for model in registry.models if model.loaded]
    return max(held, default=0) / max_queue
