"""Registries that answer what none should."""

from __future__ import annotations

import http.server
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Command

    Serve = Callable[[Callable[..., Any]], AbstractContextManager[str]]

DIGEST = "sha256:" + "0" * 64
TITLE = "org.opencontainers.image.title"


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers every request with the same."""

    status = 200
    content = b""
    headers_: dict[str, str] = {}  # noqa: RUF012

    def _answer(self) -> None:
        self.send_response(self.status)
        for name, value in {**self.headers_, "Content-Length": str(len(self.content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.content)

    do_GET = do_POST = _answer

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def answering(content: bytes = b"", status: int = 200, **headers: str) -> type[Answering]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return type("Answer", (Answering,), {"content": content, "status": status, "headers_": named})


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ([], "its manifest is no JSON object"),
        ({"layers": ["x"]}, "layers.0 in its manifest: "),
        ({"layers": 5}, "layers in its manifest: "),
        ({"layers": {}}, "layers in its manifest: "),
        ({"layers": [{"digest": 5}]}, "layers.0.digest in its manifest: "),
        ({"layers": [{"digest": DIGEST, "size": "big"}]}, "layers.0.size in its manifest: "),
        ({"layers": [{"digest": DIGEST, "size": -1}]}, "layers.0.size in its manifest: "),
        ({"layers": [{"digest": DIGEST, "annotations": [1]}]}, "layers.0.annotations in its manifest: "),
        ({"layers": [{"digest": DIGEST, "annotations": {TITLE: 5}}]}, f"layers.0.annotations.{TITLE} in its manifest"),
        ({"layers": [{"digest": DIGEST, "annotations": {TITLE: "../model.onnx"}}]}, "'../model.onnx' leads out of"),
        ({"layers": [{"digest": "md5:1"}]}, "expected a digest"),
        ({"manifests": ["x"]}, "manifests.0 in its manifest: "),
        ({"manifests": 5}, "manifests in its manifest: "),
        ({"manifests": [{"digest": DIGEST, "platform": "linux/amd64"}]}, "manifests.0.platform in its manifest: "),
        ({"manifests": [{"digest": DIGEST, "platform": {"os": 5}}]}, "manifests.0.platform.os in its manifest: "),
        ({"manifests": []}, "holds nothing for linux/"),
        ({"layers": None}, "no layer with files in it"),
    ],
)
def test_a_manifest_that_is_none_is_told(
    command: Command, serve: Serve, tmp_path: Path, manifest: object, reason: str
) -> None:
    with serve(answering(json.dumps(manifest).encode())) as url:
        name = f"{url.removeprefix('http://')}/models:1"
        done = command("fetch", f"oci://{name}", "--plain-http", "--output", tmp_path / "out")
    assert done.error.startswith(f"lapis-models: error: {name}: {reason}")


@pytest.mark.parametrize("content", [b"{", b"\xff", b'"' + b"[" * 10_000, b"[" * 100_000])
def test_a_manifest_that_is_no_json_is_told(command: Command, serve: Serve, tmp_path: Path, content: bytes) -> None:
    with serve(answering(content)) as url:
        name = f"{url.removeprefix('http://')}/models:1"
        done = command("fetch", f"oci://{name}", "--plain-http", "--output", tmp_path / "out")
    assert f"{name}: its manifest is no JSON object" in done.error


def test_a_registry_that_sends_us_nowhere_is_told(
    command: Command, serve: Serve, repository: Path, tmp_path: Path
) -> None:
    nowhere = "http://[bad/there"
    with serve(answering(status=202, Location=nowhere)) as url:
        name = f"{url.removeprefix('http://')}/models:1"
        pushed = command("push", repository, f"oci://{name}", "--plain-http")
    assert f"error: {nowhere}: names no host" in pushed.error
    with serve(answering(status=401, WWW_Authenticate=f'Bearer realm="{nowhere}"')) as url:
        name = f"{url.removeprefix('http://')}/models:1"
        fetched = command("fetch", f"oci://{name}", "--plain-http", "--output", tmp_path / "out")
    assert f"error: {nowhere}: names no host" in fetched.error
