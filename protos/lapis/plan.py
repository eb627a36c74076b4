"""Which pictures `lapis-translate` sends and where each answer goes: settled, and refused, before anything is sent.

A plan lies in a temporary database of SQLite's, which moves from memory to disk as it grows: a million pictures take no
more memory than ten.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from lapis.output import FORMATS, UnusablePaths, is_file_name, is_whole
from lapis.sources import Missing, Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lapis.sources import Found

_TABLE = """
CREATE TABLE jobs (
    place BLOB, turn INTEGER, source BLOB, target BLOB, folder BLOB, real_source BLOB, real_target BLOB, there INTEGER,
    seed INTEGER
)
"""
_INDEXES = "CREATE INDEX by_target ON jobs (target, source); CREATE INDEX by_real_source ON jobs (real_source)"
_JOBS = "SELECT source, target, seed FROM jobs WHERE NOT (there AND ?) GROUP BY target, source"
_COLLISIONS = "SELECT target FROM jobs GROUP BY target HAVING count(DISTINCT source) > 1"
_INPUTS = "SELECT DISTINCT target FROM jobs WHERE real_target IN (SELECT real_source FROM jobs)"
_THERE = "SELECT DISTINCT target FROM jobs WHERE there"
_COUNTED = "SELECT count(*) FROM ({})"
_FIRST = "SELECT target FROM ({}) ORDER BY target LIMIT ?"
_CACHE_KIB = 16 * 1024


@dataclass(frozen=True)
class Job:
    """A picture, where its translation goes, and the seed of its own that it is made with, if there is one."""

    source: Path
    target: Path
    seed: int | None = None


class Plan:
    """The jobs of a run, in order; those that an earlier run has done are `skipped`, and are none."""

    def __init__(self, database: sqlite3.Connection, *, resume: bool) -> None:
        self._database = database
        self._resume = resume
        self._length = self._count(_JOBS, resume)
        self.skipped = self._count(_JOBS, False) - self._length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Job]:
        for source, target, seed in self._database.execute(f"{_JOBS} ORDER BY min(place), turn", (self._resume,)):
            yield Job(_path(source), _path(target), seed)

    def _count(self, query: str, skip: bool) -> int:
        (count,) = self._database.execute(_COUNTED.format(query), (skip,)).fetchone()
        return int(count)

    def folders(self) -> Iterator[Path]:
        """Yields the folders that the translations go to, each once."""
        jobs = "SELECT DISTINCT folder FROM jobs WHERE NOT (there AND ?) ORDER BY folder"
        for (folder,) in self._database.execute(jobs, (self._resume,)):
            yield _path(folder)


def plan(
    sources: Sources,
    output: Path,
    extension: str,
    *,
    overwrite: bool = False,
    resume: bool = False,
    seeds: Sequence[int] = (),
    watch: Callable[[Iterable[Found]], Iterable[Found]] = iter,
) -> Plan:
    """Returns the jobs for all pictures; raises UnusablePaths, without having written anything.

    A picture keeps its name as the sources have it, with the new extension. With `seeds`, there is a job for each, with
    the seed in the name, unless the sources give the picture one of its own. With `resume`, what is there already is
    skipped; with `overwrite`, it is replaced; else it is refused. `watch` sees each picture as it is found.
    """
    database = sqlite3.connect("", isolation_level=None)  # no name: temporary, in memory until it is large
    try:
        _fill(database, _turns(watch(sources), seeds), output, extension, resume=resume)
    except sqlite3.OperationalError as error:
        raise UnusablePaths(f"cannot note so many pictures down ({error}); TMPDIR names the place for it") from error
    _refuse_missing(sources.missing)
    made = Plan(database, resume=resume)
    if len(made) + made.skipped == 0:
        raise UnusablePaths(f"no pictures ({', '.join(FORMATS)}) in {sources}")
    if is_file_name(output) and len(made) + made.skipped > 1:
        many = len(made) + made.skipped
        raise UnusablePaths(f"--output {output} is one file, but there are {many} pictures: name a folder")
    _refuse_collisions(database)
    _refuse(database, _INPUTS, "these outputs are inputs too, and are never overwritten: ")
    if not overwrite and not resume:
        _refuse(database, _THERE, "these outputs exist already (--overwrite replaces them, --resume leaves them): ")
    return made


def _turns(sources: Iterable[Found], seeds: Sequence[int]) -> Iterator[tuple[Found, int, str]]:
    """Yields every picture as often as it is translated: with its seed in it, which turn it is, and the name's mark."""
    for found in sources:
        if not seeds or found.seed is not None:
            yield found, 0, ""
        else:
            yield from ((replace(found, seed=seed), turn, f".seed{seed}") for turn, seed in enumerate(seeds))


def _fill(
    database: sqlite3.Connection,
    turns: Iterable[tuple[Found, int, str]],
    output: Path,
    extension: str,
    *,
    resume: bool,
) -> None:
    # Nothing of it is ever to be found again.
    database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -{_CACHE_KIB}; {_TABLE}")
    _real_folder.cache_clear()  # folders may have moved since another plan
    in_one_file = str(output) if is_file_name(output) else None
    there = is_whole if resume else os.path.exists
    rows = (
        _row(found, turn, in_one_file or f"{output}/{_renamed(found.name, mark + extension)}", there)
        for found, turn, mark in turns
    )
    database.executemany("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    database.executescript(_INDEXES)


def _row(found: Found, turn: int, target: str, there: Callable[[str], bool]) -> tuple[bytes | int | None, ...]:
    return (
        os.fsencode(found.order),
        turn,
        os.fsencode(found.source),
        os.fsencode(target),
        os.fsencode(os.path.dirname(target)),  # noqa: PTH120 (plain strings, see Found)
        _real(found.source),
        _real(target),
        there(target),
        found.seed,
    )


def _renamed(name: str, extension: str) -> str:
    """Gives a name the new extension; the number of `frame.0001` is none."""
    stem, old = os.path.splitext(name)  # noqa: PTH122
    return name + extension if old[1:].isdecimal() else stem + extension


def _real(path: str) -> bytes:
    """Returns a digest of where a path leads, which is the same for all paths that lead there."""
    if os.path.islink(path):  # noqa: PTH114
        real = os.path.realpath(path)
    else:
        folder, name = os.path.split(path)
        real = f"{_real_folder(folder)}/{name}"
    return blake2b(os.fsencode(real), digest_size=16).digest()


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _refuse_missing(missing: Missing) -> None:
    if missing.count:
        raise UnusablePaths(f"no such file or folder: {_listed(missing.first, missing.count)}")


def _refuse_collisions(database: sqlite3.Connection) -> None:
    targets, count = _some(database, _COLLISIONS)
    by_target = "SELECT source FROM jobs WHERE target = ? GROUP BY source ORDER BY min(place)"
    named = []
    for target in targets:
        found = [_path(source) for (source,) in database.execute(by_target, (os.fsencode(target),))]
        named.append(f"{_listed(found, len(found))} -> {target}")
    if named:
        raise UnusablePaths(f"several pictures would become the same file: {_listed(named, count)}")


def _refuse(database: sqlite3.Connection, query: str, message: str) -> None:
    found, count = _some(database, query)
    if found:
        raise UnusablePaths(message + _listed(found, count))


def _some(database: sqlite3.Connection, query: str) -> tuple[list[Path], int]:
    """Returns the first few paths that a query finds, in order, and how many there are."""
    (count,) = database.execute(_COUNTED.format(query)).fetchone()
    found = database.execute(_FIRST.format(query), (Missing.shown,))
    return [_path(target) for (target,) in found], count


def _path(name: bytes) -> Path:
    return Path(os.fsdecode(name))


def _listed(things: Sequence[object], count: int) -> str:
    """Names the first few and counts the rest."""
    shown = things[: Missing.shown]
    rest = count - len(shown)
    return ", ".join(map(str, shown)) + (f" and {rest} more" if rest > 0 else "")
