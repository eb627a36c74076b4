"""Archives, unpacked while they arrive; they are taken to be hostile.

Nothing is made but regular files, under names of our own (see staging.py): links, devices and permissions in an archive
have no effect. Only files that can be part of a repository are written, and both what is written and what is read over
count against the allowance, so that an archive that unfolds without end is left early.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from typing import TYPE_CHECKING, Any

from service.delivery.archive import Entry, read_to_end
from service.delivery.errors import Refused
from service.delivery.layout import may_belong, safe_parts
from service.delivery.staging import Allowance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from service.delivery.offer import Form
    from service.delivery.staging import Staging

_CHUNK = 1 << 20
# A header of an archive, with long names and attributes, is read whole.
_LARGEST_HEADER = 1 << 20
_MOST_ENTRIES = 100_000
# How image layers say that a file of a lower layer is gone, or all of a folder.
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


def unpack(chunks: Iterator[bytes], form: Form, staging: Staging, where: str) -> None:
    """Stage the files of a repository that are in a tar archive, compressed or not; raises Refused."""
    arriving: IO[bytes] = io.BufferedReader(Arriving(chunks), _CHUNK)
    plain: Any = gzip.GzipFile(fileobj=arriving) if form == "tar.gz" else arriving
    reader: Any = _Bounded(plain, staging.allowance.limit)
    try:
        with tarfile.open(fileobj=reader, mode="r:", errorlevel=2, tarinfo=Entry) as archive:
            for count, member in enumerate(archive):
                if count >= _MOST_ENTRIES:
                    raise Refused(f"{where}: more than {_MOST_ENTRIES:,} entries")
                _take(archive, member, staging, where)
                archive.members.clear()  # type: ignore[attr-defined] # it would keep them all
        read_to_end(reader)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise Refused(f"{where}: the archive is damaged: {error}") from error


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, staging: Staging, where: str) -> None:
    parts = safe_parts(member.name, where)
    if parts and parts[-1].startswith(_WHITEOUT):
        staging.forget(parts[:-1] if parts[-1] == _OPAQUE else (*parts[:-1], parts[-1].removeprefix(_WHITEOUT)))
        return
    if member.isdir() or not may_belong(parts):
        return
    if not member.isreg():
        raise Refused(f"{where}: {member.name} is a {_kind(member)}; expected a regular file")
    contents = archive.extractfile(member)
    if contents is not None:
        staging.receive(parts, iter(lambda: contents.read(_CHUNK), b""))


def _kind(member: tarfile.TarInfo) -> str:
    return "link" if member.issym() or member.islnk() else "device or the like"


class Arriving(io.RawIOBase):
    """A stream of bytes that arrive in chunks, as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (a buffer of any kind)
        """Fill the buffer as far as the next bytes go; 0 at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count


class _Bounded:
    """What `tarfile` reads from: forward only, never much at once, and not without end."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._allowance = Allowance(limit + _MOST_ENTRIES * tarfile.RECORDSIZE)
        self._position = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes; raises Refused for a header larger than any that is meant well."""
        if size > max(_LARGEST_HEADER, _CHUNK):
            raise Refused(f"a header of {size:,} bytes in the archive")
        data = self._file.read(size)
        self._position += len(data)
        self._allowance.take(len(data))
        return data

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position

    def seek(self, position: int) -> None:
        """Read on to a later byte."""
        if position < self._position:
            raise tarfile.ReadError("it refers to what came before")
        while self._position < position and self.read(min(_CHUNK, position - self._position)):
            pass
