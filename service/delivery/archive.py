"""Tar archives that must be whole.

Python takes whatever is no header, and the end of the file too, for the end of an archive: one that was cut between two
files, or damaged in a header, would count as complete. Here, only an end marker (a block of zeros) ends it.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Self

_CHUNK = 1 << 20


class Entry(tarfile.TarInfo):
    """What `tarfile.open` is to be given as `tarinfo`: it then raises ReadError where neither an entry nor the end is.

    After the last entry, `read_to_end` is left to be called.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """Return the next entry; raises ReadError for what is neither that nor an end marker."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # unknown to typeshed
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(
                f"neither an entry nor an end marker at byte {tarfile_.offset:,} ({error})"
            ) from error


class Readable(Protocol):
    """What can be read on."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, as many as that at most; none at the end."""


def read_to_end(archive: Readable) -> None:
    """Read on after the end marker, to where all of the bytes were seen; raises ReadError where they are not zeros.

    What is compressed is compared with its checksum only there.
    """
    while rest := archive.read(_CHUNK):
        if rest.count(0) != len(rest):
            raise tarfile.ReadError("something follows its end marker")
