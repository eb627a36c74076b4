"""Which pictures `lapis-translate` sends and where each answer goes: settled, and refused, before anything is sent."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FileFormat: TypeAlias = Literal["png", "jpeg", "webp"]

EXTENSIONS: dict[FileFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
# The extensions that count as pictures in a folder and in the name of an output file.
FORMATS: dict[str, FileFormat] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_SHOWN = 10


class UnusablePaths(Exception):
    """Inputs or outputs that cannot be used; the message names them."""


@dataclass(frozen=True)
class Job:
    """A picture and where its translation goes."""

    source: Path
    target: Path


def is_file_name(output: Path) -> bool:
    """Tells whether `output` means one picture rather than a folder of them."""
    return output.suffix.lower() in FORMATS and not output.is_dir()


def plan(inputs: Sequence[Path], output: Path, extension: str, *, overwrite: bool) -> list[Job]:
    """Returns the jobs for files and (recursively) folders; raises UnusablePaths, without having written anything.

    A picture from a folder keeps its name relative to that folder, with the new extension.
    """
    missing = [path for path in inputs if not path.exists()]
    if missing:
        raise UnusablePaths(f"no such file or folder: {_listed(missing)}")
    jobs = list(dict.fromkeys(_jobs(inputs, output, extension)))
    if not jobs:
        raise UnusablePaths(f"no pictures ({', '.join(FORMATS)}) in {_listed(inputs)}")
    if is_file_name(output) and len(jobs) > 1:
        raise UnusablePaths(f"--output {output} is one file, but there are {len(jobs)} pictures: name a folder")
    _refuse_collisions(jobs)
    _refuse_existing(jobs, overwrite=overwrite)
    return jobs


def make_folders(jobs: Iterable[Job]) -> None:
    """Makes the folders that the answers go to; raises UnusablePaths where they cannot be made or written to."""
    for folder in sorted({job.target.parent for job in jobs}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusablePaths(f"cannot make the folder {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UnusablePaths(f"cannot write to the folder {folder}")


def write(target: Path, content: bytes) -> None:
    """Writes the file whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _jobs(inputs: Iterable[Path], output: Path, extension: str) -> Iterator[Job]:
    for path in inputs:
        for source in _pictures(path, output) if path.is_dir() else [path]:
            relative = source.relative_to(path) if path.is_dir() else Path(source.name)
            yield Job(source, output if is_file_name(output) else (output / relative).with_suffix(extension))


def _pictures(folder: Path, output: Path) -> Iterator[Path]:
    """Yields the pictures under `folder` in order of name, without hidden ones and without earlier answers."""
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder):
        visible = (name for name in sorted(folders) if not name.startswith("."))
        folders[:] = [name for name in visible if Path(parent, name).resolve() != output.resolve()]
        for name in sorted(names):
            if Path(name).suffix.lower() in FORMATS and not name.startswith("."):
                yield Path(parent, name)


def _refuse_folder(error: OSError) -> NoReturn:
    raise UnusablePaths(f"cannot read the folder {error.filename}: {error.strerror}") from error


def _refuse_collisions(jobs: Iterable[Job]) -> None:
    sources = defaultdict(list)
    for job in jobs:
        sources[job.target].append(job.source)
    collisions = [f"{_listed(found)} -> {target}" for target, found in sources.items() if len(found) > 1]
    if collisions:
        raise UnusablePaths(f"several pictures would become the same file: {_listed(collisions)}")


def _refuse_existing(jobs: Sequence[Job], *, overwrite: bool) -> None:
    sources = {job.source.resolve() for job in jobs}
    inputs = [job.target for job in jobs if job.target.resolve() in sources]
    if inputs:
        raise UnusablePaths(f"these outputs are inputs too, and are never overwritten: {_listed(inputs)}")
    existing = [job.target for job in jobs if job.target.exists()]
    if existing and not overwrite:
        raise UnusablePaths(f"these outputs exist already (--overwrite replaces them): {_listed(existing)}")


def _listed(things: Sequence[object]) -> str:
    """Names the first few and counts the rest."""
    rest = len(things) - _SHOWN
    return ", ".join(str(thing) for thing in things[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
