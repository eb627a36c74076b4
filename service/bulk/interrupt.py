"""Ctrl-C and SIGTERM: both end a run in one line, with the exit code that shells give to what a signal ended."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM came; ends what Ctrl-C ends."""


def listen() -> None:
    """Raise Terminated in the main thread from now on when SIGTERM comes; Ray takes the signal when it is joined."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def code_of(error: KeyboardInterrupt) -> int:
    """Return the exit code."""
    return TERMINATED if isinstance(error, Terminated) else INTERRUPTED


def leave(code: int) -> NoReturn:
    """End the process at once: Ray's threads, stopped half-way, crash it where Python takes its time to end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
