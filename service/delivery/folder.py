"""A folder or a file of this machine, as a volume that is mounted somewhere."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote

from service.delivery.errors import Refused
from service.delivery.layout import SUMS_FILE, may_belong
from service.delivery.offer import Form, Offer, Part, expected_form
from service.delivery.transport import split

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20
# What file systems put beside our folders, for root alone to read.
_FOREIGN = frozenset({"lost+found"})


@dataclass
class Folder:
    """What lies at a `file:///…` URL."""

    url: str

    def offer(self) -> Offer:
        """Return the file, or everything of a repository below the folder; raises Refused where it cannot see all."""
        parts = split(self.url)
        path = Path(unquote(parts.path))
        if parts.netloc not in {"", "localhost"} or not path.is_absolute():
            raise Refused(f"{self.url}: expected file:///FOLDER, with three slashes")
        with told():
            kind = _kind(path)
            if not kind:
                raise Refused(f"{path}: there is nothing")
            if stat.S_ISDIR(kind):
                return _below(path)
            return Offer(_identity([path]), [_part(path, expected_form(path.name, str(path)))])


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Have it refused, by its name, what the system does not let us look at."""
    try:
        yield
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error


def _below(folder: Path) -> Offer:
    inside = sorted(path for path in _visible(folder) if may_belong((path.name,)) and stat.S_ISREG(_kind(path)))
    sums = folder / SUMS_FILE
    return Offer(
        _identity(inside),
        [_part(path) for path in inside],
        folder=True,
        sums=_part(sums) if stat.S_ISREG(_kind(sums)) else None,
    )


def _visible(folder: Path) -> Iterator[Path]:
    """Yield the files below the folder, but for hidden ones."""
    for below, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _FOREIGN]
        yield from (Path(below, name) for name in names if not name.startswith("."))


def _raise(error: OSError) -> NoReturn:
    raise error


def _kind(path: Path) -> int:
    """Return the mode of what is there, 0 where nothing is; pathlib's own questions take what is forbidden for that."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last of a zero byte in the name
        return 0


def _part(path: Path, form: Form = "file") -> Part:
    return Part(path.parts[1:], form, lambda offset: _read(path, offset), path.stat().st_size)


def _read(path: Path, offset: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


def _identity(paths: list[Path]) -> str:
    return " ".join(f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in paths)
