"""`--workers N`: whole servers, each a process, behind one gRPC port; and the supervisor that keeps them.

The supervisor reserves the port, answers HTTP for all and loads no model. The kernel spreads connections over those
workers that listen, and a worker listens once it has loaded its models (service/workers/worker.py).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from service.edge.certificate import CertificateExpiry
from service.edge.http_app import HttpServer, app_of
from service.edge.listen import address_of, listen, reserve
from service.errors import StartupError
from service.telemetry.aggregate import ProcessesCollector, WorkersCollector
from service.telemetry.build import BuildInfo
from service.telemetry.instruments import SupervisorInstruments
from service.telemetry.logs import log
from service.telemetry.nvml import gpus_of
from service.workers.keeping import GIVE_UP, Keeping
from service.workers.process import WorkerProcess

if TYPE_CHECKING:
    import socket

    from service.settings import ServeSettings

# Seconds that workers may take to end after the grace period, which they keep themselves.
_SLACK = 2.0
# Where there is one, a folder in memory: the workers write to their files with every request.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 (the folder made in it is private)


class WorkersLost(Exception):
    """No worker is ready, and they die again and again before they are."""


class Place:
    """One of the N places, the process that fills it now, and how those before it ended."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: WorkerProcess | None = None
        self.keeping = Keeping()
        self.last_code = 0

    @property
    def is_ready(self) -> bool:
        """Whether the process takes callers, and all its models do."""
        return self.process is not None and self.process.is_ready


class Supervisor:
    """Keeps the workers of one server until it is told to stop."""

    def __init__(self, settings: ServeSettings) -> None:
        """Raises StartupError for settings that several processes cannot keep."""
        if settings.model_control:
            raise StartupError("--model-control: a caller would reach one of the --workers only; use --workers 1")
        self._settings = settings
        self._places = [Place(index) for index in range(settings.workers)]
        self._stopping = asyncio.Event()
        self._has_served = False
        self._folder = _private_folder()
        self._collector = WorkersCollector(self._folder)
        self.metrics = CollectorRegistry()
        self._addresses: dict[str, str | int] = {}
        self._define_metrics()

    async def run(self, stop: asyncio.Event) -> bool:
        """Serve until `stop` is set, then drain; returns whether every worker finished what it had in hand, in time.

        Raises StartupError when a port cannot be had or a file is no model, and WorkersLost.
        """
        settings = self._settings
        with ExitStack() as held:
            held.callback(shutil.rmtree, self._folder, ignore_errors=True)
            http_socket = held.enter_context(closing(listen(settings.http_host, settings.http_port)))
            grpc_socket = held.enter_context(closing(reserve(settings.host, settings.port)))
            self._note_addresses(grpc_socket, http_socket)
            try:
                return await self._serve(http_socket, stop)
            except ExceptionGroup as group:
                raise _first(group) from group

    def end_at_once(self) -> None:
        """Kill the workers and leave nothing behind; for a process that is about to end."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def readiness(self) -> dict[str, Any]:
        """Return what /readyz tells.

        The server is ready when all workers have been, from then on while any is: the others are not given callers.
        """
        workers: list[dict[str, Any]] = [
            {
                "worker": place.index,
                "ready": place.is_ready,
                "restarts": place.keeping.deaths,
                "models": place.process.models if place.process else [],
            }
            for place in self._places
        ]
        ready = self._has_served and not self._stopping.is_set() and any(place.is_ready for place in self._places)
        # Of the models, as a server of one process tells them: those of a worker that is behind the others, if one is.
        behind = min(workers, key=lambda worker: (bool(worker["ready"]), not worker["models"]))
        return {"ready": ready, "models": behind["models"], "workers": workers}

    async def _serve(self, http_socket: socket.socket, stop: asyncio.Event) -> bool:
        """Own every task of the supervisor while it runs."""
        http = HttpServer(app_of(self.readiness, self.metrics, lambda: self._has_served))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(http.serve(sockets=[http_socket]))
            log.info("listening", **self._addresses)
            kept = [tasks.create_task(self._keep(place)) for place in self._places]
            await stop.wait()
            finished = await self._drain(kept)
            http.should_exit = True
        log.info("stopped", finished=finished)
        return finished

    async def _keep(self, place: Place) -> None:
        """Fill a place with one process after the other."""
        while not self._stopping.is_set():
            await self._fill(place)
            if not self._stopping.is_set():
                pause = self._judge(place)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()

    async def _fill(self, place: Place) -> None:
        """Run one process to its end."""
        settings = self._settings.model_copy(update={"port": self._addresses["grpc_port"]})
        place.process = process = await WorkerProcess.start(place.index, settings, self._folder)
        log.info("worker_started", worker=place.index, pid=process.pid)
        try:
            if self._stopping.is_set():
                process.stop()
            async for was_ready in process.reports():
                self._note_report(place, was_ready=was_ready)
            place.last_code = await process.end()
        finally:
            await process.kill()
            self._collector.forget(place.index)

    def _note_report(self, place: Place, *, was_ready: bool) -> None:
        if place.is_ready and not was_ready:
            place.keeping.became_ready()
            log.info("worker_ready", worker=place.index)
        if not self._has_served and all(place.is_ready for place in self._places):
            self._has_served = True
            log.info("serving", **self._addresses)

    def _judge(self, place: Place) -> float:
        """Return for how many seconds to wait before a process takes the dead one's place; raises when to give up."""
        failure = place.process.failure if place.process else ""
        place.process = None
        if failure and not self._has_served:
            raise StartupError(failure)
        pause = place.keeping.died()
        self._restarts.labels(place.index).inc()
        log.error("worker_ended", worker=place.index, code=place.last_code, reason=failure, restart_in=pause)
        if place.keeping.is_hopeless and not any(place.is_ready for place in self._places):
            raise WorkersLost(f"worker {place.index} ended {GIVE_UP} times in a row before it was ready")
        return pause

    async def _drain(self, kept: list[asyncio.Task[None]]) -> bool:
        log.info("draining", grace_period=self._settings.grace_period)
        self._stopping.set()
        for place in self._places:
            if place.process:
                place.process.stop()
        _, late = await asyncio.wait(kept, timeout=self._settings.grace_period + _SLACK)
        for task in late:
            task.cancel()
        return not late and not any(place.last_code for place in self._places if place.process)

    def _define_metrics(self) -> None:
        for collector in (self._collector, ProcessesCollector(lambda: [os.getpid(), *self._pids()])):
            self.metrics.register(collector)
        self.metrics.register(gpus_of(self._settings.devices))
        self.metrics.register(BuildInfo())
        self.metrics.register(CertificateExpiry(self._settings.tls_certificate))
        instruments = SupervisorInstruments(self.metrics)
        instruments.workers.set(len(self._places))
        instruments.ready.set_function(lambda: sum(place.is_ready for place in self._places))
        self._restarts = instruments.restarts
        for place in self._places:
            self._restarts.labels(place.index)

    def _pids(self) -> list[int]:
        return [place.process.pid for place in self._places if place.process and place.process.pid]

    def _note_addresses(self, grpc_socket: socket.socket, http_socket: socket.socket) -> None:
        """Note the addresses as log fields, the same that a server of one process tells."""
        grpc_port, http_port = grpc_socket.getsockname()[1], http_socket.getsockname()[1]
        self._addresses = {
            "grpc_address": address_of(self._settings.host, grpc_port),
            "grpc_port": grpc_port,
            "http_address": address_of(self._settings.http_host, http_port),
            "http_port": http_port,
        }


def _private_folder() -> Path:
    try:
        return Path(
            tempfile.mkdtemp(prefix=f"lapis-{os.getpid()}-", dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None)
        )
    except OSError as error:
        raise StartupError(
            "--workers needs a folder for its metrics in which it may write: /dev/shm, /tmp or what TMPDIR names "
            f"({error.strerror})"
        ) from error


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return what the operator is to be told of all that went wrong at once."""
    error: Exception = group.subgroup((StartupError, WorkersLost)) or group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
