"""A server, in one process or several, from its start to the signal that ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from service.edge.listen import is_loopback
from service.errors import EngineLost
from service.server import Server
from service.telemetry import logs
from service.telemetry.logs import log
from service.workers.supervisor import Supervisor, WorkersLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from service.settings import ServeSettings


def serve(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT; ends the process, with 0 when all requests in hand were finished, else 1."""
    logs.configure(settings.log_level, settings.log_format)
    if settings.tokens and not settings.tls_certificate and not is_loopback(settings.host):
        # No error: between here and the callers there may be a mesh that encrypts.
        log.warning("tokens_in_clear", host=settings.host)
    try:
        finished = asyncio.run(_serve(settings))
    except EngineLost as error:
        log.error("engine_lost", reason=str(error))
        finished = False
    except WorkersLost as error:
        log.error("workers_lost", reason=str(error))
        finished = False
    sys.stderr.flush()
    # Not by returning: Python would wait for the engine's threads, which cannot be interrupted, past the grace period.
    os._exit(0 if finished else 1)


async def _serve(settings: ServeSettings) -> bool:
    if settings.workers > 1:
        supervisor = Supervisor(settings)
        return await _until_signalled(supervisor.run, supervisor.end_at_once)
    return await _until_signalled(Server(settings).run, lambda: None)


async def _until_signalled(
    serving: Callable[[asyncio.Event], Awaitable[bool]], end_at_once: Callable[[], None]
) -> bool:
    """Serve until a signal comes; a second one ends the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def end(number: int, _: FrameType | None) -> NoReturn:
        end_at_once()
        # Not the default action, which the kernel denies to the first process of a container.
        os._exit(128 + number)

    def begin_to_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, end)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)
    return await serving(stop)
