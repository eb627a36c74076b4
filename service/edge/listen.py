"""Sockets that listen, and why they cannot."""

from __future__ import annotations

import socket

from service.errors import StartupError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on TCP; port 0 takes a free one. Raises StartupError, saying why not."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartupError(f"cannot listen on {address_of(host, port)}: {reason}") from error


def address_of(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
