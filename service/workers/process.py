"""A worker as its supervisor sees it, and what the two tell each other over the worker's standard input, a socket.

The supervisor sends `Orders`, one line, and later STOP; the worker sends a `Report` whenever its state changes. When
either is gone, the other reads the end: a worker never outlives its supervisor by more than the grace period.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.settings import ServeSettings

STOP = b"stop\n"

# Bytes of the longest line: thousands of models, each with the reason why it cannot be served.
LONGEST_LINE = 16 * 1024 * 1024

# -P: what lies in the working directory is none of ours.
_COMMAND = (sys.executable, "-P", "-m", "service.workers.worker")


class Orders(BaseModel):
    """Which of the workers a process is, and the settings of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: NonNegativeInt
    workers: PositiveInt
    settings: dict[str, Any]


class Report(BaseModel):
    """How a worker stands; `failure` is why it could not start, in one line for whoever started the server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ready: bool
    models: list[dict[str, str]] = []
    failure: str = ""


class WorkerProcess:
    """One process, from its start to its end; `pid` is 0 once it has ended."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._latest = Report(ready=False)

    @classmethod
    async def start(cls, index: int, settings: ServeSettings, metrics: Path) -> WorkerProcess:
        """Start a worker, which writes its metrics to files in the folder `metrics`."""
        # What a file said at the start holds for every worker, however late it is started.
        told = settings.model_copy(update={"config": None}).model_dump(mode="json")
        orders = Orders(index=index, workers=settings.workers, settings=told)
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
            writer.write(orders.model_dump_json().encode() + b"\n")
            # In a session of its own: Ctrl-C in a terminal is for the supervisor, which then tells the workers.
            process = await asyncio.create_subprocess_exec(
                *_COMMAND,
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics)},
                start_new_session=True,
            )
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """The process's number, or 0 once it has ended."""
        return self._process.pid if self._process.returncode is None else 0

    @property
    def is_ready(self) -> bool:
        """Whether it takes callers and all its models are ready."""
        return self._latest.ready

    @property
    def models(self) -> list[dict[str, str]]:
        """Its models, as /readyz tells them."""
        return self._latest.models

    @property
    def failure(self) -> str:
        """Why it could not start, or "" where it does not say."""
        return self._latest.failure

    async def reports(self) -> AsyncIterator[bool]:
        """Yield with each report, until the process ends, whether it was ready before that."""
        with suppress(ConnectionError):
            async for line in self._reader:
                before, self._latest = self._latest, Report.model_validate_json(line)
                yield before.ready

    async def end(self) -> int:
        """Wait until the process has ended; returns its exit code, below 0 for a signal."""
        code = await self._process.wait()
        self._latest = self._latest.model_copy(update={"ready": False})
        return code

    def stop(self) -> None:
        """Tell the process to finish what it has in hand and end."""
        self._writer.write(STOP)

    async def kill(self) -> None:
        """End the process if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()
            await self.end()
        self._writer.close()
