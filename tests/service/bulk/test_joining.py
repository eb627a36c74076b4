"""A cluster that is not there is told of in seconds."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from service.bulk.errors import BulkError
from service.bulk.joining import check_answers


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_address_where_nobody_listens_is_told_of(form: str, closed_port: int) -> None:
    address = form.format(closed_port)
    with pytest.raises(BulkError, match=f"--ray {address}: no Ray cluster can be reached there: Connection refused"):
        check_answers(address)


def test_unknown_host_is_told_of() -> None:
    with pytest.raises(BulkError, match=r"--ray nobody\.invalid:6379: no Ray cluster can be reached"):
        check_answers("nobody.invalid:6379")


@pytest.mark.parametrize("address", ["nobody", "127.0.0.1:", "127.0.0.1:port", ":6379", "ray://"])
def test_address_without_host_or_port_is_told_of(address: str) -> None:
    with pytest.raises(BulkError, match="expected auto, local, HOST:PORT"):
        check_answers(address)


def test_address_of_the_environment_is_named_as_such(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    with pytest.raises(BulkError, match=f"RAY_ADDRESS=127.0.0.1:{closed_port}: no Ray cluster"):
        check_answers("auto")


def test_address_where_somebody_listens_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}")
    check_answers("auto")
    check_answers("local")
