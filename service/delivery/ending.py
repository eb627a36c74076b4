"""How the command ends when it is told to: half of a model is taken away first."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


class Ending:
    """Ends the command on SIGINT or SIGTERM, by unwinding it, and remembers which it was.

    The first process of a container is not ended by a signal itself. What is interrupted may make an error of its own
    out of the exception, so the exit code is kept here: 128 and the signal's number, 0 while there was none.
    """

    def __init__(self) -> None:
        self.code = 0
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
                signal.signal(signum, self)

    def __call__(self, signum: int, _: FrameType | None) -> None:
        """Unwind the command."""
        self.code = 128 + signum
        sys.exit(self.code)

    @property
    def by_user(self) -> bool:
        """Whether someone pressed Ctrl-C."""
        return self.code == 128 + signal.SIGINT
