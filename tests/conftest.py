from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Answer = Callable[[str], str | None]


def pytest_configure() -> None:
    """Has the environment's programs found, and lets the commands that tests start be interrupted.

    The first also where pytest was called by its path, the second also where a shell ignores SIGINT for what runs
    behind it.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def answering() -> Callable[[Answer], AbstractContextManager[str]]:
    """Serves what a function says to each path over HTTP, for as long as the block runs: gives HOST:PORT.

    What begins with a brace is JSON, all else is text; None is 404.
    """
    return _answering


@contextmanager
def _answering(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answer(self.path.partition("?")[0])
            said = found or "{}"
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/json" if said[0] == "{" else "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
