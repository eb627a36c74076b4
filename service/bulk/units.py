"""What there is to do: pictures, or shards, that have no output yet, in units that an actor takes at a time."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.bulk.errors import BulkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SHARD = ".tar"
_DIGITS = re.compile(r"[0-9]+")
_SHOWN = 3
# Kinds of files, by ending, that are told of one by one.
_ENDINGS_SHOWN = 5


@dataclass(frozen=True)
class Unit:
    """Some pictures, or one shard with all that is in it; names are relative to the input."""

    names: tuple[str, ...]
    is_shard: bool = False


@dataclass(frozen=True)
class Todo:
    """The units, the names of the input that are done already, and how many are not.

    `unnamed` are pictures whose names no store takes, and why; `aside` counts, by ending, what is neither picture nor
    shard.
    """

    units: list[Unit]
    finished: list[str]
    wanted: int
    kind: str = "pictures"
    unnamed: list[tuple[str, str]] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """How many pictures or shards of the input are done already."""
        return len(self.finished)

    @property
    def left_aside(self) -> str:
        """What is left aside, in words; empty where nothing is."""
        common = sorted(self.aside.items(), key=lambda one: (-one[1], one[0]))[:_ENDINGS_SHOWN]
        others = self.aside.total() - sum(count for _, count in common)
        told = [f"{count:,} {ending}" for ending, count in [*common, *([("others", others)] if others else [])]]
        return f"; left aside: {', '.join(told)}" if told else ""


def is_shard(name: str) -> bool:
    """Return whether a file is a shard, by its name."""
    return name.lower().endswith(SHARD)


def output_name(name: str, extension: str) -> str:
    """Return what a picture's translation is called; a shard keeps its name."""
    if is_shard(name) or name.endswith(extension):
        return name
    return name[: name.rindex(".")] + extension


def plan(names: Iterable[str], there: Iterable[str], extension: str, size: int) -> Todo:
    """Return what is to be done, given the names of the input's files and of those that the output has.

    Raises BulkError for an input without pictures, one that has loose pictures and shards, and for pictures whose
    translations would have the same name.
    """
    found, unnamed, aside = _sorted_out(names)
    shards = [name for name in found if is_shard(name)]
    if shards and len(shards) < len(found):
        loose = next(name for name in found if not is_shard(name))
        raise BulkError(f"the input has shards, as {shards[0]}, and loose pictures, as {loose}; give one or the other")
    if not found and not unnamed:
        raise BulkError(f"the input has no pictures ({', '.join(PICTURES)}) and no {SHARD} shards{_hint(aside)}")
    if told := clash(found, extension):
        raise BulkError(told)
    known = set(there)
    finished = [name for name in found if output_name(name, extension) in known]
    wanted = [name for name in found if output_name(name, extension) not in known]
    units = _units(wanted, 1 if shards else size, shards=bool(shards))
    return Todo(units, finished, len(wanted), "shards" if shards else "pictures", unnamed, aside)


def _units(names: list[str], size: int, *, shards: bool) -> list[Unit]:
    return [Unit(tuple(names[at : at + size]), shards) for at in range(0, len(names), size)]


def _sorted_out(names: Iterable[str]) -> tuple[list[str], list[tuple[str, str]], Counter[str]]:
    """Return pictures and shards in order, those among them whose names cannot be written, and how many others."""
    found: list[str] = []
    unnamed: list[tuple[str, str]] = []
    aside: Counter[str] = Counter()
    for name in names:
        if not name.lower().endswith((*PICTURES, SHARD)):
            aside[_ending(name)] += 1
        elif _is_text(name):
            found.append(name)
        else:
            unnamed.append((readable(name), "the name is not UTF-8; rename the file"))
    found.sort(key=_natural)
    return found, unnamed, aside


def _is_text(name: str) -> bool:
    """Return whether a name is UTF-8 on the disk; Python keeps other bytes as lone surrogates."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(name: str) -> str:
    """Return a name as it can be written down, with escapes for bytes in it that are not UTF-8."""
    return name if _is_text(name) else name.encode(errors="backslashreplace").decode()


def _ending(name: str) -> str:
    """Return how a file's name ends, as .txt or .tar.gz."""
    stem, dot, last = name.rpartition("/")[2].lower().rpartition(".")
    if not dot:
        return "without an ending"
    return f"{SHARD if stem.endswith(SHARD) else ''}.{last}"


def _hint(aside: Counter[str]) -> str:
    packed = [ending for ending in aside if ending.startswith(".tar.") or ending == ".tgz"]
    return f", but {packed[0]} files; unpack them to {SHARD}" if packed else ""


def clash(names: Sequence[str], extension: str) -> str:
    """Return a sentence on pictures whose translations would have the same name; empty where there are none."""
    made: set[str] = set()
    doubles = []
    for name in names:
        output = output_name(name, extension)
        if output in made:
            doubles.append(name)
        made.add(output)
    if not doubles:
        return ""
    shown = doubles[:_SHOWN]
    firsts = {output_name(name, extension): name for name in reversed(names)}
    pairs = ", ".join(f"{firsts[output_name(name, extension)]} and {name}" for name in shown)
    more = f", and {len(doubles) - _SHOWN:,} more" if len(doubles) > _SHOWN else ""
    return f"translations would have the same name: {pairs}{more}; rename one of each"


def _natural(name: str) -> str:
    """Return what names are sorted by, with numbers as numbers: each has the count of its digits in front.

    A string, as a million tuples of parts take more than a gigabyte.
    """
    return _DIGITS.sub(_numbered, name)


def _numbered(digits: re.Match[str]) -> str:
    number = digits[0].lstrip("0")
    return chr(ord("0") + len(number)) + number
