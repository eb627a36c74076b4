"""What stands in files that change while the server runs: certificates that are renewed, tokens that are exchanged."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from service.errors import StartupError
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Stamp = list[tuple[int, int, int, int] | None]

T = TypeVar("T")

# Looks at files that change under our eyes, as when a whole folder is exchanged, before the next look has another try.
_ATTEMPTS = 3


class Reread(Generic[T]):
    """What `read` makes of the files at `paths`, made anew when they change; may be asked in any thread.

    `read` raises StartupError. At the start that is for whoever started the server; later, `NAME_failed` is logged, and
    what was read before stays. The files are looked at whenever they are asked for, which takes microseconds, through
    symbolic links: that is how Kubernetes exchanges the files of a Secret, all in one moment.
    """

    def __init__(self, name: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self._name = name
        self._paths = paths
        self._read = read
        self._lock = threading.Lock()
        self._stamp, self._latest = self._settled()

    def latest(self) -> T:
        """Return what the files say now, or said when they last could be used."""
        # Whoever comes while another looks takes what there is, and does not wait.
        if self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._latest

    def _look(self) -> None:
        if (stamp := self._now()) == self._stamp:
            return
        # Noted even where it cannot be used, so that the log is told once.
        self._stamp = stamp
        try:
            self._stamp, self._latest = self._settled()
        except StartupError as error:
            log.error(f"{self._name}_failed", reason=str(error))
        else:
            log.info(f"{self._name}_renewed", files=[str(path) for path in self._paths])

    def _settled(self) -> tuple[Stamp, T]:
        """Read files of one moment: not the certificate of yesterday with the key of today."""
        for _ in range(_ATTEMPTS - 1):
            stamp = self._now()
            try:
                made = self._read()
            except StartupError:
                if stamp == self._now():
                    raise
                continue
            if stamp == self._now():
                return stamp, made
        return self._now(), self._read()

    def _now(self) -> Stamp:
        return [_stamp(path) for path in self._paths]


def content(path: Path, flag: str) -> bytes:
    """Return what a file holds; raises StartupError with the flag that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"{flag}: {path} cannot be read: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """Return what changes when a file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
