"""How a command ends on SIGINT or SIGTERM where something half done must be taken away first."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextmanager
def unwinding(prog: str, interrupted: str) -> Iterator[None]:
    """Unwinds the block when either signal comes, and then exits with 128 and its number.

    Ctrl-C is answered with `PROG: interrupted` and the rest of that sentence, SIGTERM with nothing. A signal that was
    ignored before stays so.
    """
    ending = _Ending()
    try:
        yield
    except BaseException as error:
        is_done = isinstance(error, SystemExit) and not error.code
        if is_done or not ending.code:
            raise
        if ending.code == 128 + signal.SIGINT:
            print(f"{prog}: interrupted{interrupted}", file=sys.stderr)
        sys.exit(ending.code)


class _Ending:
    """Raises SystemExit when a signal comes, and remembers which it was.

    What is interrupted may swallow the exception, or make an error of its own out of it, as torch does in the midst of
    an import. KeyboardInterrupt is not raised: some of these imports then have Python end by the signal itself. And the
    first process of a container is not ended by a signal that nobody handles.
    """

    def __init__(self) -> None:
        self.code = 0
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
                signal.signal(signum, self)

    def __call__(self, signum: int, _: FrameType | None) -> None:
        self.code = 128 + signum
        sys.exit(self.code)
