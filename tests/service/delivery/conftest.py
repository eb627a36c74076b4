"""Real servers to fetch from and push to, and small repositories of real models."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from service.delivery.__main__ import main


@dataclass
class Done:
    code: int
    output: str
    log: str

    @property
    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.splitlines() if line.startswith("{")]

    @property
    def error(self) -> str:
        lines = [line for line in self.log.splitlines() if not line.startswith("{")]
        assert self.code in {1, 2}, self.log
        assert len(lines) == 1, self.log
        return lines[0]


Command = Callable[..., Done]
Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `lapis-models` in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["lapis-models", *map(str, arguments)])
        capsys.readouterr()
        handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def repository(tmp_path: Path, write_model: Callable[..., Path]) -> Path:
    """Two models: one of two versions, labelled and with a card; and things that are none of the service's business."""
    root = tmp_path / "repository" / "models"
    write_model(root / "facades" / "1" / "model.onnx")
    write_model(root / "facades" / "2" / "model.onnx", "identity")
    write_model(root / "maps" / "7" / "model.onnx")
    (root / "facades" / "labels.json").write_text('{"stable": 1}')
    (root / "facades" / "1" / "README.md").write_text("# Facades\n")
    (root / "facades" / "1" / "sample.png").write_bytes(b"a picture")
    return root


EXPECTED = {
    "facades/1/README.md",
    "facades/1/model.onnx",
    "facades/2/model.onnx",
    "facades/labels.json",
    "maps/7/model.onnx",
}


@pytest.fixture
def tree() -> Tree:
    """Returns the files of a repository by path, and fails where anything else was left in it."""
    return _tree


def _tree(folder: Path) -> dict[str, bytes]:
    hidden = {path.name for path in folder.iterdir() if path.name.startswith(".")}
    assert hidden <= {".lapis-models.json", ".lapis-models.lock"}
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def delivered(repository: Path) -> dict[str, bytes]:
    """What of the repository is to arrive."""
    return {path: (repository / path).read_bytes() for path in sorted(EXPECTED)}


@pytest.fixture
def arrived(tree: Tree, delivered: dict[str, bytes]) -> Callable[[Path], bool]:
    """Tells whether a folder holds what was to arrive."""
    return lambda folder: tree(folder) == delivered


@dataclass
class Mood:
    """How the web server behaves: what it was asked, and how it is to answer the next requests."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    etag: str = '"1"'
    etag_after_cut: str = ""
    token: str = ""
    redirect: dict[str, str] = field(default_factory=dict)
    seen_tokens: list[str] = field(default_factory=list)


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, mood: Mood, folder: Path, *arguments: object) -> None:
        self.mood, self.folder = mood, folder
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        mood, wanted_range = self.mood, self.headers.get("Range", "")
        mood.asked.append((self.path, wanted_range))
        mood.seen_tokens.append(self.headers.get("Authorization", ""))
        path = self.path.partition("?")[0]
        if mood.statuses:
            return self._end(mood.statuses.pop(0))
        if mood.token and self.headers.get("Authorization") != mood.token:
            return self._end(401)
        if path in mood.redirect:
            return self._end(302, Location=mood.redirect[path])
        file = self.folder / path.lstrip("/")
        if not file.is_file():
            return self._end(404)
        return self._send(file.read_bytes(), wanted_range)

    def _send(self, content: bytes, wanted: str) -> None:
        start = 0
        if wanted and self.mood.ranges and self.headers.get("If-Range", self.mood.etag) == self.mood.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", self.mood.etag)
        self.end_headers()
        if not self.mood.cut_after:
            self.wfile.write(content[start:])
            return
        self.wfile.write(content[start : start + self.mood.cut_after.pop(0)])
        self.mood.etag = self.mood.etag_after_cut or self.mood.etag

    def _end(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Web:
    url: str
    folder: Path
    mood: Mood


@pytest.fixture
def serve() -> Callable[[Callable[..., Any]], contextlib.AbstractContextManager[str]]:
    """Serves a handler of `http.server`."""
    return _serving


@pytest.fixture
def start() -> Callable[..., contextlib.AbstractContextManager[None]]:
    """Runs a server of its own process."""
    return _process


class _Quiet(http.server.ThreadingHTTPServer):
    """Says nothing of callers that hang up: some are meant to."""

    def handle_error(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = _Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A web server over a folder, which can be told to fail."""
    mood, folder = Mood(), tmp_path / "web"
    folder.mkdir()
    with _serving(partial(_Handler, mood, folder)) as url:
        yield Web(url, folder, mood)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    return _free_port()


@contextlib.contextmanager
def _process(arguments: list[str], url: str, log: Path) -> Iterator[None]:
    """Runs a server until the block ends; waits for it to answer."""
    with log.open("wb") as output, subprocess.Popen(arguments, stdout=output, stderr=output) as running:
        try:
            _wait_for(url, running, log)
            yield
        finally:
            running.terminate()


def _wait_for(url: str, running: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while running.poll() is None and time.monotonic() < until:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(url, timeout=5)
            return
    pytest.fail(f"{url} does not answer: {log.read_text()}")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A real registry (Debian: docker-registry) that anybody may use; its host and port."""
    with _registry(tmp_path, {}) as host:
        yield host


@pytest.fixture
def start_registry() -> Callable[[Path, dict[str, Any]], contextlib.AbstractContextManager[str]]:
    """Starts such a registry over a folder, which asks its users who they are."""
    return _registry


@contextlib.contextmanager
def _registry(folder: Path, auth: dict[str, Any]) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed: make chart")
    host = f"127.0.0.1:{_free_port()}"
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": host},
    }
    config = folder / "registry.yml"
    config.write_text(json.dumps(settings | ({"auth": auth} if auth else {})))
    with _process([program, "serve", str(config)], f"http://{host}/v2/", folder / "registry.log"):
        yield host
