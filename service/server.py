"""The server's life: listen, load, serve, drain."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import cv2

from service.edge.grpc_server import GrpcServer
from service.edge.http_app import HttpServer, build_app
from service.edge.listen import address_of, listen
from service.engine.session import DeviceUnavailable
from service.errors import StartupError
from service.loading import load
from service.logs import log
from service.metrics import Metrics
from service.registry import Registry
from service.repository import scan
from service.translator import Translator

if TYPE_CHECKING:
    import socket

    from service.registry import ModelVersion
    from service.settings import ServeSettings


class Server:
    """One server over one model repository.

    `listening` is set when both ports are open and known, `ready` when every model is warm, which may be never.
    """

    def __init__(self, settings: ServeSettings) -> None:
        """Look through the repository; raises StartupError."""
        self.settings = settings
        self.registry = Registry(scan(settings.models), settings.default_model)
        self.metrics = Metrics()
        self.listening = asyncio.Event()
        self.ready = asyncio.Event()
        self.grpc_port = settings.port
        self.http_port = settings.http_port
        for model in self.registry.models:
            self.metrics.watch(model)

    async def run(self, stop: asyncio.Event) -> bool:
        """Serve until `stop` is set, then drain; returns whether all requests in hand were finished in time.

        Raises StartupError when a port cannot be had or a file is no model.
        """
        # Pictures are decoded side by side; threads within one would only get in each other's way.
        cv2.setNumThreads(1)
        codec = ThreadPoolExecutor(self.settings.codec_workers, thread_name_prefix="codec")
        translator = Translator(self.settings.limits, codec, self.metrics)
        edge = GrpcServer(self.registry, translator, self.metrics, self.settings.max_message_bytes)
        try:
            with closing(listen(self.settings.http_host, self.settings.http_port)) as http_socket:
                self.http_port = http_socket.getsockname()[1]
                self.grpc_port = await edge.start(self.settings.host, self.settings.port)
                return await self._serve(edge, http_socket, stop)
        except ExceptionGroup as group:
            if wrong := group.subgroup(StartupError):
                raise _innermost(wrong) from group
            raise
        finally:
            await edge.stop(0)
            codec.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, edge: GrpcServer, http_socket: socket.socket, stop: asyncio.Event) -> bool:
        """Own every task of the server while it runs."""
        http = HttpServer(build_app(self.registry, self.metrics.registry))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(http.serve(sockets=[http_socket]))
            models = tasks.create_task(self._run_models(edge))
            self.listening.set()
            log.info("listening", **self._addresses())
            await stop.wait()
            finished = await self._drain(edge)
            models.cancel()
            http.should_exit = True
        log.info("stopped", finished=finished)
        return finished

    async def _run_models(self, edge: GrpcServer) -> None:
        """Load the models one after the other and serve each from then on."""
        async with asyncio.TaskGroup() as tasks:
            for model in self.registry.models:
                await self._load(model, tasks)
                await edge.health.update()
            if self.registry.is_ready:
                self.ready.set()
                log.info("serving", **self._addresses())

    async def _load(self, model: ModelVersion, tasks: asyncio.TaskGroup) -> None:
        try:
            loaded = await load(model.file, self.settings, self.metrics)
        except DeviceUnavailable as error:
            model.fail(str(error))
            log.error("model_failed", model=model.name, version=model.version, reason=model.failure)
            return
        tasks.create_task(loaded.batcher.run())
        model.become_ready(loaded)
        self.metrics.loaded(model.name, model.version, loaded)
        log.info("model_loaded", model=model.name, version=model.version, provider=loaded.engine.provider)

    async def _drain(self, edge: GrpcServer) -> bool:
        """Refuse what is new, finish what was admitted; returns whether the grace period was enough.

        The gRPC server stays open meanwhile: a call that comes in at the moment when it stops is told CANCELLED, which
        clients do not try again, and not UNAVAILABLE.
        """
        log.info("draining", grace_period=self.settings.grace_period)
        self.registry.drain()
        await edge.health.update()
        end = time.monotonic() + self.settings.grace_period
        try:
            async with asyncio.timeout(self.settings.grace_period):
                for model in self.registry.models:
                    if model.loaded:
                        await model.loaded.admission.until_empty()
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
