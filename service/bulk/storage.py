"""Folders and buckets alike: files are listed, read whole, and written whole or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from service.bulk.errors import BulkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")


class TooLarge(Exception):
    """A file is larger than what is read."""


@dataclass(frozen=True)
class Storage:
    """A folder, or a prefix of a bucket; credentials of the latter come from their usual variables."""

    place: str

    @cached_property
    def _store(self) -> ObjectStore:
        scheme = urlsplit(self.place).scheme if "://" in self.place else ""
        try:
            if not scheme:
                return LocalStore(Path(self.place).absolute(), mkdir=True)
            if scheme not in SCHEMES:
                raise BulkError(f"{self.place}: expected a folder, or a URL that begins with {', '.join(SCHEMES)}")
            return from_url(self.place)
        except (BaseError, OSError, ValueError) as error:
            raise BulkError(f"{self.place}: {_line(error)}") from error

    def check_is_there(self) -> None:
        """Raise BulkError for a folder that is missing; of a bucket that is known once it is listed."""
        if "://" not in self.place and not Path(self.place).is_dir():
            raise BulkError(f"{self.place}: there is no such folder")

    def check_apart(self, other: Storage) -> None:
        """Raise BulkError where one place is inside the other: what is written would be read."""
        ours, theirs = (place.rstrip("/") + "/" for place in (self._absolute, other._absolute))
        if ours.startswith(theirs) or theirs.startswith(ours):
            raise BulkError(f"--output {other.place}: must be neither inside of the input ({self.place}) nor around it")

    @property
    def _absolute(self) -> str:
        return self.place if "://" in self.place else str(Path(self.place).resolve())

    def names(self) -> Iterator[str]:
        """Yield the names of all files below, relative to the place, hidden ones left out."""
        with self._told():
            for some in obstore.list(self._store, chunk_size=1000):
                for found in some:
                    name = found["path"]
                    if not any(part.startswith(".") for part in name.split("/")):
                        yield name

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes; raises TooLarge, FileNotFoundError, and BulkError where it cannot be read."""
        with self._told():
            found = obstore.get(self._store, name)
            size = found.meta["size"]
            if most is not None and size > most:
                raise TooLarge(f"the file has {size:,} bytes; at most {most:,} are read")
            return bytes(found.bytes())

    def write(self, name: str, content: bytes) -> None:
        """Write a file; nobody sees a part of it."""
        with self._told():
            obstore.put(self._store, name, content)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            raise BulkError(f"{self.place}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
