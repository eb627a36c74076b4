"""WebDataset shards: tar files whose pictures are replaced by their translations, and whose other files stay."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from service.bulk.units import PICTURES, clash, output_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What Python's readers raise over damaged bytes: those of the archive, of its compression, and of numbers in it.
_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, LookupError, ArithmeticError)


class BrokenShard(Exception):
    """A shard cannot be read."""


@dataclass(frozen=True)
class Member:
    """A file in a shard; `fault` says why it has no content, where it has none."""

    name: str
    content: bytes
    fault: str = ""

    @property
    def is_picture(self) -> bool:
        """Whether it is to be translated."""
        return self.name.lower().endswith(PICTURES)


def read(content: bytes, largest: int) -> list[Member]:
    """Return the files of a shard; of a picture of more than `largest` bytes, one byte more. Raises BrokenShard."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as shard:
            entries = shard.getmembers()
            _check_end(shard, len(entries))
            return [_member(shard, entry, largest) for entry in entries if not entry.isdir()]
    except _DAMAGE as error:
        raise BrokenShard(f"the shard is damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def _check_end(shard: tarfile.TarFile, entries: int) -> None:
    """Raise BrokenShard unless zeros end the archive.

    Python's reader takes the end of the file and a damaged entry for the end of the archive, too.
    """
    archive = cast("IO[bytes]", shard.fileobj)
    archive.seek(shard.offset)
    rest = archive.read()
    if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
        raise BrokenShard(
            f"the shard is cut off or damaged at byte {shard.offset:,}, after {entries:,} entries; expected another "
            "entry there, or nothing but zeros"
        )


def _member(shard: tarfile.TarFile, entry: tarfile.TarInfo, largest: int) -> Member:
    try:
        file = shard.extractfile(entry)
    except (KeyError, RecursionError):  # a link to what is not there, or to itself
        file = None
    if file is None:
        is_link = entry.islnk() or entry.issym()
        return Member(
            entry.name,
            b"",
            f"a link to {entry.linkname}, which is no file of the shard" if is_link else "neither a file nor a link",
        )
    is_picture = entry.name.lower().endswith(PICTURES)
    return Member(entry.name, file.read(largest + 1) if is_picture else file.read())


def check_names(members: Sequence[Member], extension: str) -> None:
    """Raise BrokenShard where two translations would have the same name."""
    if told := clash([member.name for member in members if member.is_picture], extension):
        raise BrokenShard(told)


def write(members: Sequence[Member], translated: Mapping[str, bytes], extension: str) -> bytes:
    """Return the shard with the translations in their pictures' places; those that failed are left out.

    The same members make the same bytes, whenever that is.
    """
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as shard:
        for member in members:
            if member.name in translated:
                _add(shard, output_name(member.name, extension), translated[member.name])
            elif not member.is_picture and not member.fault:
                _add(shard, member.name, member.content)
    return made.getvalue()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    shard.addfile(entry, io.BytesIO(content))
