"""Stores that are reached in a way that they do not want."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.certificates import Authority

if TYPE_CHECKING:
    from conftest import Command

    Serve = Callable[[Callable[..., Any]], AbstractContextManager[str]]


class _Nothing(http.server.BaseHTTPRequestHandler):
    """Has nothing, and says why."""

    status, reason = 404, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.reason)))
        self.end_headers()
        self.wfile.write(self.reason)

    def log_message(self, *_: object) -> None:
        pass


class _OnlyTls(_Nothing):
    """Answers as servers in Go do who get plain HTTP where they expect TLS."""

    status, reason = 400, b"Client sent an HTTP request to an HTTPS server.\n"


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture
def tls(authority: Authority) -> Iterator[str]:
    """A store with a certificate of the tests' own authority; its address."""
    pair = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with _Server(("127.0.0.1", 0), _Nothing) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_authority_that_is_not_known_is_told(
    command: Command, tls: str, authority: Authority, tmp_path: Path
) -> None:
    arguments = ("fetch", "s3://studio/models", "--endpoint", tls, "--anonymous", "--output", tmp_path / "out")
    refused = command(*arguments)
    assert f"{tls} has a certificate that is not accepted (UnknownIssuer); --ca-certificate names" in refused.error
    assert refused.code == 2
    assert "404 Not Found" in command(*arguments, "--ca-certificate", authority.file).error


def test_plain_http_where_tls_is_spoken_is_told(command: Command, serve: Serve, tmp_path: Path) -> None:
    with serve(_OnlyTls) as url:
        done = command("fetch", "s3://studio/models", "--endpoint", url, "--anonymous", "--output", tmp_path / "out")
    assert f"{url} speaks TLS only; its address (--endpoint) begins with https://" in done.error
