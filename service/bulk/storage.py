"""Folders and buckets alike: files are listed, read whole, and written whole or not at all."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from service.bulk import folder
from service.bulk.errors import BulkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ObjectStore, RetryConfig

    from service.bulk.settings import BulkSettings

SCHEMES = ("s3", "gs", "az")
# What is written to see whether anything can be; hidden, so that nobody takes it for an output.
PROBE = ".lapis-bulk-probe"
# The time counts, not the number: a store that is away for a minute is waited for.
_RETRY: RetryConfig = {
    "max_retries": 100,
    "backoff": {"init_backoff": timedelta(seconds=1), "max_backoff": timedelta(seconds=15), "base": 2},
    "retry_timeout": timedelta(minutes=2),
}
_ERRORS = (BaseError, OSError, ValueError)


class TooLarge(Exception):
    """A file is larger than what is read."""


class Unusable(Exception):
    """This file cannot be read or written, though others at the same place can."""


@dataclass(frozen=True)
class Storage:
    """A folder, or a prefix of a bucket; credentials of the latter come from their usual variables.

    A folder that is missing is made where `creates` says so.
    """

    place: str
    creates: bool = False

    @cached_property
    def _store(self) -> ObjectStore:
        try:
            if not self._is_bucket:
                return LocalStore(Path(self.place).absolute(), mkdir=self.creates)
            if urlsplit(self.place).scheme not in SCHEMES:
                raise BulkError(f"{self.place}: expected a folder, or a URL that begins with {', '.join(SCHEMES)}")
            return from_url(self.place, retry_config=_RETRY)
        except _ERRORS as error:
            raise BulkError(f"{self.place}: {_line(error)}") from error

    @property
    def _is_bucket(self) -> bool:
        return "://" in self.place

    @property
    def absolute(self) -> str:
        """The place itself, however it was written: the same for all ways to name it."""
        return self.place.rstrip("/") if self._is_bucket else str(Path(self.place).resolve())

    def check_is_there(self) -> None:
        """Raise BulkError for a folder that is missing; of a bucket that is known once it is listed."""
        if not self._is_bucket and not Path(self.place).is_dir():
            raise BulkError(f"{self.place}: there is no such folder")

    def check_apart(self, other: Storage) -> None:
        """Raise BulkError where one place is inside the other: what is written would be read."""
        ours, theirs = (place.rstrip("/") + "/" for place in (self.absolute, other.absolute))
        if ours.startswith(theirs) or theirs.startswith(ours):
            raise BulkError(f"--output {other.place}: must be neither inside of the input ({self.place}) nor around it")

    def below(self, name: str) -> Storage:
        """Return a folder of this place."""
        return Storage(f"{self.place.rstrip('/')}/{name}")

    def names(self, *, filled: bool = False) -> Iterator[str]:
        """Yield the names of all files below, relative to the place, hidden ones left out; `filled`: empty ones, too.

        Raises BulkError where they cannot be listed.
        """
        with self._told():
            for name, size in self._in_bucket() if self._is_bucket else self._in_folder():
                if size or not filled:
                    yield name

    def _in_bucket(self) -> Iterator[tuple[str, int]]:
        for some in obstore.list(self._store, chunk_size=1000):
            for found in some:
                if not any(part.startswith(".") for part in found["path"].split("/")):
                    yield found["path"], found["size"]

    def _in_folder(self) -> Iterator[tuple[str, int]]:
        root = Path(self.place)
        if root.exists():
            yield from folder.files(root)

    def has(self, name: str) -> bool:
        """Return whether there is such a file; raises BulkError where that cannot be known."""
        with self._told():
            try:
                obstore.head(self._store, name)
            except FileNotFoundError:
                return False
        return True

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes.

        Raises TooLarge, FileNotFoundError, Unusable for a file that cannot be read, and BulkError where none can be.
        """
        try:
            found = obstore.get(self._store, name)
            size = found.meta["size"]
            if most is not None and size > most:
                raise TooLarge(f"the file has {size:,} bytes; at most {most:,} are read")
            return bytes(found.bytes())
        except FileNotFoundError:
            raise
        except _ERRORS as error:
            self._check_lists()
            raise Unusable(f"the file cannot be read: {_line(error)}") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file; nobody sees a part of it.

        Raises Unusable for a name that cannot be written, and BulkError where nothing can be.
        """
        try:
            obstore.put(self._store, name, content)
        except _ERRORS as error:
            self._check_takes(content)
            raise Unusable(f"its translation cannot be written: {_line(error)}") from error

    def _check_lists(self) -> None:
        """Raise BulkError unless the place can be listed."""
        next(self.names(), None)

    def _check_takes(self, content: bytes) -> None:
        """Raise BulkError unless as many bytes can be written under another name: a disk may be full, too."""
        with self._told():
            obstore.put(self._store, PROBE, content)
        with suppress(*_ERRORS):
            obstore.delete(self._store, PROBE)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            raise BulkError(f"{self.place}: {_line(error)}") from error


def settled(settings: BulkSettings) -> BulkSettings:
    """Return the settings with whole paths: actors may run in another working directory, or on another node."""
    places = {name: _whole(getattr(settings, name)) for name in ("input", "output")}
    return settings.model_copy(update={**places, "models": settings.models.absolute()})


def _whole(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def _line(error: Exception) -> str:
    """Return what went wrong without the library's own internals."""
    return " ".join(str(error).partition("Debug source")[0].split())[:300]
