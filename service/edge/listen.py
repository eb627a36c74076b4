"""Sockets that listen, and why they cannot."""

from __future__ import annotations

import os
import socket

from service.errors import StartupError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on TCP; port 0 takes a free one. Raises StartupError, saying why not."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        raise StartupError(f"cannot listen on {address_of(host, port)}: {error.strerror}") from error
    except OSError as error:
        # Not the error's own text, to which the library adds the address once more.
        reason = os.strerror(error.errno) if error.errno else error
        raise StartupError(f"cannot listen on {address_of(host, port)}: {reason}") from error


def address_of(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
