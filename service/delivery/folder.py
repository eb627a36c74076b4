"""A folder or a file of this machine, as a volume that is mounted somewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from service.delivery.errors import Refused
from service.delivery.layout import SUMS_FILE, may_belong
from service.delivery.offer import Form, Offer, Part, expected_form

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


@dataclass
class Folder:
    """What lies at a `file:///…` URL."""

    url: str

    def offer(self) -> Offer:
        """Return the file, or everything of a repository below the folder."""
        parts = urlsplit(self.url)
        path = Path(unquote(parts.path))
        if parts.netloc not in {"", "localhost"} or not path.is_absolute():
            raise Refused(f"{self.url}: expected file:///FOLDER, with three slashes")
        if path.is_dir():
            return self._below(path)
        if not path.exists():
            raise Refused(f"{path}: there is nothing")
        return Offer(_identity([path]), [_part(path, expected_form(path.name, str(path)))])

    def _below(self, folder: Path) -> Offer:
        found = sorted(path for path in folder.rglob("*") if path.is_file() and may_belong((path.name,)))
        inside = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
        sums = folder / SUMS_FILE
        return Offer(
            _identity(inside),
            [_part(path) for path in inside],
            folder=True,
            sums=_part(sums) if sums.is_file() else None,
        )


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
