"""What there is to do: pictures, or shards, that have no output yet, in units that an actor takes at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from service.bulk.errors import BulkError

if TYPE_CHECKING:
    from collections.abc import Iterable

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SHARD = ".tar"
_DIGITS = re.compile(r"([0-9]+)")
_SHOWN = 3


@dataclass(frozen=True)
class Unit:
    """Some pictures, or one shard with all that is in it; names are relative to the input."""

    names: tuple[str, ...]
    is_shard: bool = False


@dataclass(frozen=True)
class Todo:
    """The units, and how many pictures or shards of the input are done already."""

    units: list[Unit]
    done: int
    wanted: int


def output_name(name: str, extension: str) -> str:
    """Return what a picture's translation is called; a shard keeps its name."""
    if name.endswith(SHARD):
        return name
    return str(PurePosixPath(name).with_suffix(extension))


def plan(names: Iterable[str], there: Iterable[str], extension: str, size: int) -> Todo:
    """Return what is to be done, given the names of the input's files and of those that the output has.

    Raises BulkError for an input without pictures, one that has loose pictures and shards, and for pictures whose
    translations would have the same name.
    """
    found = sorted((name for name in names if name.lower().endswith((*PICTURES, SHARD))), key=_natural)
    shards = [name for name in found if name.endswith(SHARD)]
    if shards and len(shards) < len(found):
        loose = next(name for name in found if not name.endswith(SHARD))
        raise BulkError(f"the input has shards, as {shards[0]}, and loose pictures, as {loose}; give one or the other")
    if not found:
        raise BulkError(f"the input has no pictures ({', '.join(PICTURES)}) and no {SHARD} shards")
    _refuse_doubles(found, extension)
    known = set(there)
    wanted = [name for name in found if output_name(name, extension) not in known]
    if shards:
        units = [Unit((name,), is_shard=True) for name in wanted]
    else:
        units = [Unit(tuple(wanted[at : at + size])) for at in range(0, len(wanted), size)]
    return Todo(units, len(found) - len(wanted), len(wanted))


def _refuse_doubles(names: list[str], extension: str) -> None:
    outputs: dict[str, str] = {}
    doubles = []
    for name in names:
        first = outputs.setdefault(output_name(name, extension), name)
        if first is not name:
            doubles.append(f"{first} and {name}")
    if doubles:
        more = f", and {len(doubles) - _SHOWN} more" if len(doubles) > _SHOWN else ""
        raise BulkError(
            f"translations would have the same name: {', '.join(doubles[:_SHOWN])}{more}; rename one of each"
        )


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what names are sorted by, with numbers as numbers."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in _DIGITS.split(name)]
