"""One of several server processes behind one port, started by service/workers/supervisor.py and by nobody else.

It listens once its models are loaded, so that the kernel hands it no caller before, answers no HTTP, writes its metrics
to files for its supervisor to read, and takes its share of the cores.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from prometheus_client import values
from pydantic import ValidationError

from service import cores
from service.edge.http_app import readiness
from service.errors import EngineLost, StartupError
from service.server import Server
from service.settings import ServeSettings
from service.telemetry import logs
from service.telemetry.logs import log
from service.workers.process import LONGEST_LINE, Orders, Report

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

# Seconds between looks at the models, once all are ready.
_LOOK = 0.5


def main() -> NoReturn:
    """Serve until told to stop; ends the process as lapis-serve ends."""
    try:
        channel = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    except OSError:
        sys.stderr.write("lapis-serve: error: a worker is started by lapis-serve --workers, and by nobody else\n")
        sys.exit(2)
    code = asyncio.run(_work(channel))
    sys.stderr.flush()
    # Not by returning: Python would wait for the engine's threads, which cannot be interrupted, past the grace period.
    os._exit(code)


async def _work(channel: socket.socket) -> int:
    reader, writer = await asyncio.open_connection(sock=channel, limit=LONGEST_LINE)
    try:
        orders = Orders.model_validate_json(await reader.readline())
    except ValidationError:  # the supervisor ended before it could say anything
        return 1
    settings = ServeSettings(**orders.settings)
    cores.share(orders.index, orders.workers)
    logs.configure(settings.log_level, settings.log_format, worker=orders.index)
    # By its place and not by its number: whoever takes this one's place goes on with its counters.
    values.ValueClass = values.MultiProcessValue(lambda: orders.index)  # type: ignore[no-untyped-call]
    try:
        return 0 if await _serve(settings, reader, writer) else 1
    except StartupError as error:
        await _send(writer, Report(ready=False, failure=str(error)))
        return 2
    except EngineLost as error:
        log.error("engine_lost", reason=str(error))
        return 1


async def _serve(settings: ServeSettings, reader: StreamReader, writer: StreamWriter) -> bool:
    server = Server(settings, is_worker=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    async with asyncio.TaskGroup() as tasks:
        beside = [
            tasks.create_task(_obey(reader, stop)),
            tasks.create_task(_report(server, writer)),
            tasks.create_task(server.metrics.keep_fresh()),
        ]
        outcome: bool | Exception
        try:
            outcome = await server.run(stop)
        except (StartupError, EngineLost) as error:
            outcome = error
        for task in beside:
            task.cancel()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def _obey(reader: StreamReader, stop: asyncio.Event) -> None:
    """Wait for the word to stop, or for the end of the supervisor, which means the same."""
    if not await reader.readline():
        log.error("supervisor_lost")
        # Nobody else is left to do it; what is open stays good until the process ends.
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
    stop.set()


async def _report(server: Server, writer: StreamWriter) -> None:
    """Tell the supervisor how the models stand, whenever it changes."""
    told: Report | None = None
    while True:
        report = Report.model_validate(readiness(server.registry))
        # Models may be ready a moment before the port is open.
        report = report.model_copy(update={"ready": report.ready and server.ready.is_set()})
        if report != told:
            await _send(writer, report)
            told = report
        await _next_look(server)


async def _next_look(server: Server) -> None:
    if server.ready.is_set():
        await asyncio.sleep(_LOOK)
        return
    try:
        async with asyncio.timeout(_LOOK):
            await server.ready.wait()
    except TimeoutError:
        return


async def _send(writer: StreamWriter, report: Report) -> None:
    try:
        writer.write(report.model_dump_json().encode() + b"\n")
        await writer.drain()
    except ConnectionError:  # the supervisor is gone, which `_obey` reads, too
        return


if __name__ == "__main__":
    main()
