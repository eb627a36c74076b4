"""Sockets that listen, and why they cannot."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on TCP; port 0 takes a free one. Raises StartupError, saying why not."""
    with _reasons(host, port):
        family, address = _resolve(host, port)
        return socket.create_server(address, family=family)


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket that keeps the port, a free one for 0, for processes of ours that share it; it does not listen.

    Raises StartupError, saying why not; somebody else on the port is a reason, even if they share it.
    """
    if port:
        listen(host, port).close()
    with _reasons(host, port):
        family, address = _resolve(host, port)
        try:
            return _bind(family, address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            # Nobody listens, but connections of an earlier server linger on. Not so at first: with SO_REUSEADDR a
            # server that does not listen yet would not be noticed.
            return _bind(family, address, socket.SO_REUSEADDR)


def check_free(host: str, port: int, *, reuse_port: bool) -> None:
    """Raise StartupError, saying why, if a server could not listen there."""
    if not reuse_port:
        listen(host, port).close()
        return
    # Bound only: a socket that listens, and be it for a moment, would be given callers of the others on the port.
    with _reasons(host, port):
        family, address = _resolve(host, port)
        with socket.socket(family) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind(address)


def address_of(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether what listens on a host can be reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may stand for anything
        return False


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return family, (str(address[0]), int(address[1]))


def _bind(family: socket.AddressFamily, address: tuple[str, int], *options: int) -> socket.socket:
    """Return a socket that shares its port and is bound only."""
    bound = socket.socket(family)
    try:
        for option in (socket.SO_REUSEPORT, *options):
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


@contextmanager
def _reasons(host: str, port: int) -> Iterator[None]:
    """Say in one line what went wrong."""
    try:
        yield
    except socket.gaierror as error:
        raise StartupError(f"cannot listen on {address_of(host, port)}: {error.strerror}") from error
    except OSError as error:
        # Not the error's own text, to which the library adds the address once more.
        reason = os.strerror(error.errno) if error.errno else error
        raise StartupError(f"cannot listen on {address_of(host, port)}: {reason}") from error
