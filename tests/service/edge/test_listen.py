from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from service.edge.listen import check_free, listen, reserve
from service.errors import StartupError

WITH_IPV6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", pytest.param("::", marks=WITH_IPV6)])
def test_reserved_port_is_free_for_those_that_share_it_and_for_nobody_else(host: str) -> None:
    with reserve(host, 0) as reserved:
        port = reserved.getsockname()[1]
        check_free(host, port, reuse_port=True)
        for foreign in (lambda: listen(host, port), lambda: reserve(host, port)):
            with pytest.raises(StartupError, match="Address already in use"):
                foreign()
    check_free(host, port, reuse_port=False)


@pytest.mark.parametrize("shared", [False, True])
def test_port_on_which_somebody_listens_cannot_be_reserved(*, shared: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=shared) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use$"):
            reserve("127.0.0.1", port)


def test_connections_of_an_earlier_server_do_not_keep_the_port() -> None:
    with listen("127.0.0.1", 0) as earlier:
        port = earlier.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            served, _ = earlier.accept()
            served.close()  # who closes first is the one whose connection lingers on
            client.recv(1)
    with closing(reserve("127.0.0.1", port)):
        check_free("127.0.0.1", port, reuse_port=True)


def test_unknown_host_is_named() -> None:
    with pytest.raises(StartupError, match=r"^cannot listen on no\.such\.host\.invalid:0: "):
        reserve("no.such.host.invalid", 0)
