"""Where pictures come from: files, folders with all that is in them, lists; found one by one, never all in memory."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from lapis.output import FORMATS, UnusablePaths
from lapis.seeds import parse_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NUMBER = re.compile(r"[0-9]+")
_DIGITS = 20  # up to so many digits numbers in names are put in order


@dataclass(frozen=True)
class Found:
    """A picture; `name` is the path that its translation has below the output, but for the extension.

    `order` sorts the pictures of a run: inputs as they were given, within a folder by name, with numbers as numbers.
    `seed` is what a list says, if it does. Paths are plain strings, as there may be a million of them.
    """

    source: str
    name: str
    order: str
    seed: int | None = None


class Sources:
    """The pictures that a run is for; `missing` is filled while they are found.

    `root`, where given, is the folder relative to which pictures keep their names: else those from a folder keep them
    relative to that folder, and others have their last part alone.
    """

    def __init__(self, inputs: Iterable[Path], list_file: Path | None, output: Path, root: Path | None) -> None:
        self._inputs = list(inputs)
        self._list_file = list_file
        self._output = output.resolve()
        self._root = root
        self.missing = Missing()

    def __str__(self) -> str:
        return ", ".join(map(str, [*self._inputs, *([self._list_file] if self._list_file else [])]))

    def __iter__(self) -> Iterator[Found]:
        for number, (path, name, seed) in enumerate(self._given()):
            order = f"{number:012}"
            if path.is_dir():
                yield from (replace(found, seed=seed) for found in self._in_folder(path, order))
            elif path.exists():
                yield Found(str(path), str(name) if name else self._name(str(path), path.name), order, seed)
            else:
                self.missing.add(path)

    def _given(self) -> Iterator[Line]:
        """Yields what was named, with the name and the seed that a list gives it."""
        for path in self._inputs:
            yield Line(path)
        if self._list_file:
            yield from read_list(self._list_file)

    def _in_folder(self, folder: Path, order: str) -> Iterator[Found]:
        """Yields the pictures under a folder, without hidden ones and without earlier translations."""
        folders = [""]
        while folders:
            below = folders.pop()
            for entry in _entries(folder / below):
                relative = os.path.join(below, entry.name)  # noqa: PTH118 (plain strings, see Found)
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if not entry.is_symlink() and Path(entry.path).resolve() != self._output:
                        folders.append(relative)
                elif _extension(entry.name) in FORMATS:
                    source = entry.path.removeprefix("./")
                    yield Found(source, self._name(source, relative), f"{order}\0{_natural(below, entry.name)}")

    def _name(self, source: str, otherwise: str) -> str:
        if self._root is None:
            return otherwise
        try:
            return str(Path(os.path.abspath(source)).relative_to(os.path.abspath(self._root)))  # noqa: PTH100 (links stay)
        except ValueError:
            raise UnusablePaths(f"{source} does not lie in --root {self._root}") from None


class Missing:
    """Paths that are not there: all counted, the first few kept."""

    shown = 10

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Path] = []

    def add(self, path: Path) -> None:
        """Counts a path."""
        self.count += 1
        if len(self.first) < self.shown:
            self.first.append(path)


class Line(NamedTuple):
    """A line of a list: a path, its name below the output, and its seed; either may be missing."""

    path: Path
    name: Path | None = None
    seed: int | None = None


def read_list(list_file: Path) -> Iterator[Line]:
    """Yields the lines of a list: a path, after a tab its name below the output, and after another its seed.

    `-` is standard input. Raises UnusablePaths where the list cannot be read.
    """
    with _open_list(list_file) as lines:
        for line in lines:
            path, name, seed, *_ = [*os.fsdecode(line.rstrip(b"\r\n")).split("\t", 2), "", ""]
            if path:
                yield Line(Path(path), _safe(name) if name else None, _seed(seed) if seed else None)


@contextmanager
def _open_list(list_file: Path) -> Iterator[IO[bytes]]:
    if str(list_file) == "-":
        yield sys.stdin.buffer
        return
    try:
        lines = list_file.open("rb")
    except OSError as error:
        raise UnusablePaths(f"cannot read the list {list_file}: {error.strerror}") from error
    with lines:
        yield lines


def _safe(name: str) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UnusablePaths(f"a list names {name}, which does not lie below the output")
    return Path(name)


def _seed(text: str) -> int:
    if (seed := parse_seed(text)) is None:
        raise UnusablePaths(f"a list gives the seed {text!r}, which is no whole number of 64 bits")
    return seed


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise UnusablePaths(f"cannot read the folder {folder}: {error.strerror}") from error


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (plain strings, see Found)


def _natural(folder: str, name: str) -> str:
    """Returns what sorts a folder's pictures before those of folders in it, and numbers by what they count."""
    folders = "".join(f"\2{_padded(part)}\0" for part in folder.split("/")) if folder else ""
    return f"{folders}\1{_padded(name)}\0{name}"


def _padded(name: str) -> str:
    return _NUMBER.sub(lambda digits: digits[0].lstrip("0").rjust(_DIGITS, "0"), name)
