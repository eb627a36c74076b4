"""The files of a folder, links followed, as a store lists those of a bucket."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A folder by its device and number: what a link that leads back up is known by.
_Identity = tuple[int, int]


def files(root: Path) -> Iterator[tuple[str, int]]:
    """Yield the names of the files below a folder, relative to it, and their bytes; hidden ones are left out.

    A link that leads nowhere is a file of 0 bytes, which nobody can read. Raises OSError where a folder cannot be read.
    """
    waiting: list[tuple[str, str, frozenset[_Identity]]] = [(str(root), "", frozenset())]
    while waiting:
        path, prefix, above = waiting.pop()
        here = _identity(path)
        if here in above:
            continue
        for name, status in _entries(path):
            if status and stat.S_ISDIR(status.st_mode):
                waiting.append((f"{path}/{name}", f"{prefix}{name}/", above | {here}))
            elif status is None or stat.S_ISREG(status.st_mode):
                yield prefix + name, status.st_size if status else 0


def _entries(path: str) -> Iterator[tuple[str, os.stat_result | None]]:
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield entry.name, _status(entry)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return what is known of a file; None where a link to it leads nowhere, or in circles."""
    try:
        return entry.stat()
    except OSError:
        return None


def _identity(path: str) -> _Identity:
    status = os.stat(path)  # noqa: PTH116 (a million names are strings here)
    return status.st_dev, status.st_ino
