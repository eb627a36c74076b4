"""The end of connections, so that callers are told UNAVAILABLE, which they try again elsewhere.

gRPC's own way to stop (C core 1.85, and before) has a gap of a round trip: a call that is sent before its caller hears
of the end is told CANCELLED, which nobody tries again. Where a connection is simply closed there is no such gap.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
import struct
import termios
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]

_DESCRIPTORS = Path("/proc/self/fd")
# Seconds between looks at what is still on its way.
_PAUSE = 0.002


class OpenCalls:
    """Counts the calls whose last answer is not written yet."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def enter(self, context: Context) -> None:
        """Count in a call, until gRPC is done with it."""
        self._count += 1
        self._none.clear()
        context.add_done_callback(self._left)  # type: ignore[arg-type]

    async def until_none(self) -> None:
        """Wait until the last answer of the last of them is written."""
        await self._none.wait()

    def _left(self, _: Context) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()


async def until_received(port: int) -> None:
    """Wait until the peers of all connections on a local TCP port have received what was written to them so far."""
    waiting = list(_connections(port))
    try:
        while waiting:
            for connection in [one for one in waiting if not _unacknowledged(one)]:
                waiting.remove(connection)
                connection.close()
            if waiting:
                await asyncio.sleep(_PAUSE)
    finally:
        for connection in waiting:
            connection.close()


def hang_up(port: int) -> None:
    """End this process's connections on a local TCP port, after what was written to them.

    Does nothing on systems that do not tell a process of its files as Linux does.
    """
    for connection in list(_connections(port)):  # found first, and then ended within microseconds
        with connection, suppress(OSError):  # that is, unless its peer was first
            connection.shutdown(socket.SHUT_RDWR)


def _connections(port: int) -> Iterator[socket.socket]:
    """Yield duplicates of the sockets that are connected on a local port."""
    if not _DESCRIPTORS.is_dir():
        return
    for entry in list(_DESCRIPTORS.iterdir()):
        if not _is_socket(entry):
            continue
        try:
            connection = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue  # closed by now
        if _is_connected(connection, port):
            yield connection
        else:
            connection.close()


def _is_socket(entry: Path) -> bool:
    try:
        return stat.S_ISSOCK(entry.stat().st_mode)
    except OSError:
        return False  # closed by now


def _is_connected(connection: socket.socket, port: int) -> bool:
    try:
        connection.getpeername()
        return connection.family in {socket.AF_INET, socket.AF_INET6} and connection.getsockname()[1] == port
    except OSError:
        return False


def _unacknowledged(connection: socket.socket) -> int:
    """Return the bytes that were written and not received yet; none where the peer is gone."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return 0
    return int(count)
