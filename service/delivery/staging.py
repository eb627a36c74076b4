"""The folder in which everything is received before any of it is put in place."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.delivery.errors import Refused
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Names that begin with a dot are no models' to the service.
STAGING = ".lapis-models-staging"
_LOCK = ".lapis-models.lock"


@dataclass
class Allowance:
    """How many bytes may still be taken."""

    limit: int
    taken: int = field(default=0, init=False)

    def take(self, count: int) -> None:
        """Count bytes; raises Refused when there are too many."""
        self.taken += count
        if self.taken > self.limit:
            raise Refused(f"there are more than {self.limit:,} bytes; --max-bytes allows more")


@dataclass
class Staging:
    """Files received so far, by their paths at their source, each with the SHA-256 that its bytes came to."""

    folder: Path
    allowance: Allowance
    digests: dict[tuple[str, ...], str] = field(default_factory=dict)

    def where(self, parts: tuple[str, ...]) -> Path:
        """Return where a file is kept: names do not matter here, so none can do harm."""
        return self.folder / hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def receive(self, parts: tuple[str, ...], chunks: Iterable[bytes]) -> str:
        """Write a file and return the SHA-256 of its bytes; one of the same path is replaced."""
        digest = hashlib.sha256()
        with self.where(parts).open("wb") as file:
            for chunk in chunks:
                self.allowance.take(len(chunk))
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        self.digests[parts] = digest.hexdigest()
        return self.digests[parts]

    def forget(self, parts: tuple[str, ...]) -> None:
        """Drop a file, and everything below it if it was a folder."""
        for path in [path for path in self.digests if path[: len(parts)] == parts]:
            del self.digests[path]
            self.where(path).unlink()


@contextlib.contextmanager
def staged(output: Path, max_bytes: int) -> Iterator[Staging]:
    """Yield a fresh staging folder inside the output, which no other fetch uses meanwhile; it is gone afterwards.

    It lies inside, and not beside, because the output may be the root of a volume: nothing can be renamed into that
    from elsewhere. What an interrupted fetch left behind is removed.
    """
    folder = output / STAGING
    try:
        output.mkdir(parents=True, exist_ok=True)
        with _alone(output):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield Staging(folder, Allowance(max_bytes))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        # Of what is moved, where to: where it comes from is gone by the time that this is read.
        where = error.filename2 or error.filename or output
        raise Refused(f"{where}: {error.strerror or error}") from error


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    with (output / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting_for_another_fetch", output=str(output))
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # network file systems without locks
            log.debug("no_locks_here", reason=str(error))
        yield
