from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def pytest_configure() -> None:
    """Has the environment's programs found, and lets the commands that tests start be interrupted.

    The first also where pytest was called by its path, the second also where a shell ignores SIGINT for what runs
    behind it.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
