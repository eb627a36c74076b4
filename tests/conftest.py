from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Lets the commands that tests start be interrupted, also where a shell ignores SIGINT for what runs behind it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
