"""The command `lapis-serve`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from lapis.command import run

from service import logs
from service.errors import StartupError
from service.server import Server
from service.settings import ServeSettings

if TYPE_CHECKING:
    from types import FrameType


def main() -> NoReturn:
    """Run the command."""
    run("lapis-serve", ServeSettings, serve, errors=(StartupError,))


def serve(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT; ends the process, with 0 when all requests in hand were finished, else 1."""
    logs.configure(settings.log_level, settings.log_format)
    finished = asyncio.run(_until_signalled(Server(settings)))
    sys.stderr.flush()
    # Not by returning: Python would wait for the engine's threads, which cannot be interrupted, past the grace period.
    os._exit(0 if finished else 1)


async def _until_signalled(server: Server) -> bool:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def begin_to_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, _end_at_once)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)
    return await server.run(stop)


def _end_at_once(number: int, _: FrameType | None) -> NoReturn:
    # Not the default action, which the kernel denies to the first process of a container.
    os._exit(128 + number)


if __name__ == "__main__":
    main()
