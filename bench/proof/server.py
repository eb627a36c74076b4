"""A server in a process of its own, for as long as an experiment needs it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Self

from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LONGEST_START = 300.0
_LONGEST_STOP = 60.0


class ServerProcess:
    """A server that writes its addresses as JSON lines to stderr, as `lapis-serve --log-format json` does.

    Runs while the block does. `address` and `http` are HOST:PORT, known from the start; raises BenchError when it ends
    before it serves.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[str] | None = None
        self._last_lines: deque[str] = deque(maxlen=20)
        self._serving: Queue[dict[str, Any] | None] = Queue()
        self.address = ""
        self.http = ""

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> Self:
        """Starts the process and returns when it serves."""
        # In a session of its own: Ctrl-C is for the experiment, which then ends its servers.
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            self._command, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        try:
            event = self._serving.get(timeout=_LONGEST_START)
        except Empty:
            event = None
        if event is None:
            self.stop()
            raise BenchError(f"{' '.join(self._command)}: did not serve: {' '.join(list(self._last_lines)[-1:])}")
        self.address, self.http = event["grpc_address"], event.get("http_address", "")
        return self

    def stop(self) -> int:
        """Ends the process in order and returns its exit code."""
        if not self._process:
            return 0
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_LONGEST_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Reads the log to its end: an unread one would fill the pipe and stop the server."""
        for line in process.stderr or ():
            self._last_lines.append(line.strip())
            if line.startswith("{") and (event := json.loads(line)).get("event") == "serving":
                self._serving.put(event)
        self._serving.put(None)


def lapis_serve(models: Path, flags: Sequence[str], *, port: int = 0) -> ServerProcess:
    """Returns a `lapis-serve` over a repository, on a port of its own unless told otherwise."""
    listen = ["--port", str(port), "--http-port", "0"]
    quiet = ["--log-format", "json", "--log-level", "info", "--slow-request", "0"]
    return ServerProcess([sys.executable, "-m", "service", "--models", str(models), *listen, *quiet, *flags])


def copy_model(source: Path, target: Path) -> None:
    """Puts a model into a repository at once, so that no server sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial"
    partial.mkdir()
    shutil.copy(source / "model.onnx", partial)
    partial.rename(target)
