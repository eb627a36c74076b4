"""WebDataset shards: tar files whose pictures are replaced by their translations, and whose other files stay."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.bulk.units import PICTURES, output_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class BrokenShard(Exception):
    """A shard cannot be read."""


@dataclass(frozen=True)
class Member:
    """A file in a shard."""

    name: str
    content: bytes

    @property
    def is_picture(self) -> bool:
        """Whether it is to be translated."""
        return self.name.lower().endswith(PICTURES)


def read(content: bytes, largest: int) -> Iterator[Member]:
    """Yield the files of a shard; of a picture of more than `largest` bytes, one byte more. Raises BrokenShard."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as shard:
            for entry in shard:
                file = shard.extractfile(entry) if entry.isreg() else None
                if file:
                    is_picture = entry.name.lower().endswith(PICTURES)
                    yield Member(entry.name, file.read(largest + 1) if is_picture else file.read())
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BrokenShard(" ".join(str(error).split())) from error


def write(members: list[Member], translated: Mapping[str, bytes], extension: str) -> bytes:
    """Return the shard with the translations in their pictures' places; those that failed are left out.

    The same members make the same bytes, whenever that is.
    """
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as shard:
        for member in members:
            if not member.is_picture:
                _add(shard, member.name, member.content)
            elif member.name in translated:
                _add(shard, output_name(member.name, extension), translated[member.name])
    return made.getvalue()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    shard.addfile(entry, io.BytesIO(content))
