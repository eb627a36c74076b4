"""One layer of an image, made of files: the same files give the same bytes, whoever makes it, wherever and whenever.

It is not compressed. Weights hardly shrink (edges2emoji: by 8 %), a node need not unpack them before it mounts them,
and versions of compressors differ in what they write.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.delivery.errors import Refused
from service.delivery.unpack import Arriving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A tar archive that is read off its files whenever it is needed, and never kept."""

    files: tuple[tuple[str, Path], ...]
    sha256: str
    size: int

    @classmethod
    def of(cls, files: Mapping[tuple[str, ...], Path]) -> Layer:
        """Return the layer of files by their paths in it; raises Refused where one cannot be read."""
        listed = tuple(sorted(("/".join(parts), path) for parts, path in files.items()))
        digest, size = hashlib.sha256(), 0
        for chunk in _tar(listed):
            digest.update(chunk)
            size += len(chunk)
        return cls(listed, digest.hexdigest(), size)

    def open(self) -> Arriving:
        """Return its bytes from the first on."""
        return _Sized(_tar(self.files), self.size)


class _Sized(Arriving):
    """A stream whose length is known, which spares the other side from being sent chunks."""

    def __init__(self, chunks: Iterator[bytes], size: int) -> None:
        super().__init__(chunks)
        self._size = size

    def __len__(self) -> int:
        return self._size


def _tar(files: tuple[tuple[str, Path], ...]) -> Iterator[bytes]:
    for folder in _folders(files):
        yield _header(folder, None)
    for name, path in files:
        try:
            with path.open("rb") as file:
                yield from _entry(name, file)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error
    yield bytes(2 * tarfile.BLOCKSIZE)


def _folders(files: tuple[tuple[str, Path], ...]) -> list[str]:
    return sorted({"/".join(name.split("/")[:depth]) for name, _ in files for depth in range(1, name.count("/") + 1)})


def _entry(name: str, file: BinaryIO) -> Iterator[bytes]:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    yield _header(name, size)
    left = size
    while left:
        chunk = file.read(min(_CHUNK, left))
        if not chunk:
            raise Refused(f"{name}: became shorter while it was read")
        left -= len(chunk)
        yield chunk
    yield bytes(-size % tarfile.BLOCKSIZE)


def _header(name: str, size: int | None) -> bytes:
    """Return the header of a file, or of a folder where there is no size: readable by all, of no time and of root."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = (tarfile.DIRTYPE, 0o755) if size is None else (tarfile.REGTYPE, 0o644)
    info.size = size or 0
    return info.tobuf(tarfile.PAX_FORMAT)
