"""The server's life: listen, load, serve, drain."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING

import cv2

from service.codec import Codec
from service.edge.certificate import CertificateExpiry
from service.edge.grpc_server import GrpcServer
from service.edge.http_app import HttpServer, build_app
from service.edge.listen import address_of, listen
from service.errors import EngineLost, StartupError
from service.loading import Loader
from service.models.life import Life
from service.models.registry import Registry
from service.models.repository import scan
from service.telemetry import tracing
from service.telemetry.build import BuildInfo
from service.telemetry.logs import log
from service.telemetry.metrics import Metrics
from service.telemetry.nvml import gpus_of
from service.translator import Translator

if TYPE_CHECKING:
    from service.settings import ServeSettings


class Server:
    """One server over one model repository.

    `listening` is set when the ports are open and known, `ready` when every model is warm, which may be never. A
    worker, one of several processes behind one port, opens that port only once it is ready, and no HTTP port.
    """

    def __init__(self, settings: ServeSettings, *, is_worker: bool = False) -> None:
        """Look through the repository; raises StartupError."""
        self.settings = settings
        contents = scan(settings.models)
        self.registry = Registry(contents.files.values(), settings.default_model)
        self.metrics = Metrics()
        self._loader = Loader(settings, self.metrics)
        self.life = Life(settings, self.registry, self._loader, self.metrics, contents)
        self.listening = asyncio.Event()
        self.ready = asyncio.Event()
        self.grpc_port = settings.port
        self.http_port = settings.http_port
        self._is_worker = is_worker

    async def run(self, stop: asyncio.Event) -> bool:
        """Serve until `stop` is set, then drain; returns whether all requests in hand were finished in time.

        Raises StartupError when a port cannot be had or a file is no model, and EngineLost when an engine stays broken.
        """
        # Pictures are decoded side by side; threads within one would only get in each other's way.
        cv2.setNumThreads(1)
        settings = self.settings
        self.metrics.watch(asyncio.get_running_loop())
        tracing.configure(settings)
        codec = Codec(settings.codec_workers)
        translator = Translator(settings.limits, codec, self.metrics, settings.cache_bytes)
        edge = GrpcServer(self.registry, translator, self.metrics, settings, self.life)
        try:
            return await self._serve(edge, stop)
        except ExceptionGroup as group:
            if ends := group.subgroup((StartupError, EngineLost)):
                raise _innermost(ends) from group
            raise
        finally:
            await edge.stop(0)
            codec.close()
            await asyncio.to_thread(tracing.shutdown)

    async def _serve(self, edge: GrpcServer, stop: asyncio.Event) -> bool:
        if self._is_worker:
            return await self._live(edge, stop)
        with closing(listen(self.settings.http_host, self.settings.http_port)) as http_socket:
            self.http_port = http_socket.getsockname()[1]
            self.metrics.registry.register(gpus_of(self.settings.devices))
            self.metrics.registry.register(BuildInfo())
            self.metrics.registry.register(CertificateExpiry(self.settings.tls_certificate))
            await self._open(edge)
            log.info("listening", **self._addresses())
            async with asyncio.TaskGroup() as tasks:
                http = HttpServer(build_app(self.registry, self.metrics.registry, self.ready.is_set))
                tasks.create_task(http.serve(sockets=[http_socket]))
                finished = await self._live(edge, stop)
                http.should_exit = True
        log.info("stopped", finished=finished)
        return finished

    async def _live(self, edge: GrpcServer, stop: asyncio.Event) -> bool:
        """Own every task of the models, from the first load to the last answer."""
        one_at_a_time = asyncio.Lock()

        async def on_change() -> None:
            async with one_at_a_time:
                await self._tell(edge)

        async with asyncio.TaskGroup() as tasks:
            models = [
                tasks.create_task(self._loader.run()),
                tasks.create_task(self.life.run(on_change)),
            ]
            await stop.wait()
            finished = await self._drain(edge)
            for task in models:
                task.cancel()
        return finished

    async def _open(self, edge: GrpcServer) -> None:
        self.grpc_port = await edge.start(self.settings.host, self.settings.port, reuse_port=self._is_worker)
        self.listening.set()

    async def _tell(self, edge: GrpcServer) -> None:
        """Tell callers how the models stand, and whoever waits for it that all are ready."""
        await edge.health.update()
        if not self.registry.is_ready or self.ready.is_set():
            return
        if self._is_worker:
            await self._open(edge)
        self.ready.set()
        if not self._is_worker:  # for all workers there is one who tells
            log.info("serving", **self._addresses())

    async def _drain(self, edge: GrpcServer) -> bool:
        """Refuse what is new, finish what was admitted; returns whether the grace period was enough.

        The gRPC server stays open meanwhile: a call that comes in at the moment when it stops is told CANCELLED, which
        clients do not try again, and not UNAVAILABLE.
        """
        log.info("draining", grace_period=self.settings.grace_period)
        self.registry.drain()
        await edge.health.update()
        edge.drain()
        end = time.monotonic() + self.settings.grace_period
        try:
            async with asyncio.timeout(self.settings.grace_period):
                await self.life.until_drained()
        except TimeoutError:
            return False
        await edge.stop(max(0.0, end - time.monotonic()))
        return True

    def _addresses(self) -> dict[str, str | int]:
        """Return the addresses as log fields, made for programs that started the server on port 0."""
        return {
            "grpc_address": address_of(self.settings.host, self.grpc_port),
            "grpc_port": self.grpc_port,
            "http_address": address_of(self.settings.http_host, self.http_port),
            "http_port": self.http_port,
        }


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
