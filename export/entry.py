"""Writes a model repository entry: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from export.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = "model.onnx"
CARD = "README.md"
RESULTS = "results.png"


@contextmanager
def staged(folder: Path, *, force: bool) -> Iterator[Path]:
    """Yields an empty folder beside `folder`; what the block leaves in it appears in `folder` when the block ends well.

    When the block fails, nothing is left, not even the parents that were made for it. With `force` an entry that is
    there already is replaced file by file, the model first, so that at every moment a whole model stands there; files
    that are not ours stay. Raises OutputError where the entry is there without `force`, and where it cannot be written.
    """
    _refuse(folder, force=force)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    made: list[Path] = []
    try:
        with _told(folder):
            _make_parents(folder.parent, made)
            beside.mkdir()
            yield beside
            _publish(beside, folder, force=force)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        for parent in reversed(made):
            with suppress(OSError):  # it holds the entry by now
                parent.rmdir()


def _refuse(folder: Path, *, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; --output names a folder")
    with _told(folder):
        if not force and folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder} is there already; choose the next version, or replace it with --force")


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise OutputError(f"cannot write {folder}: {where}{error.strerror}") from error


def _make_parents(parent: Path, made: list[Path]) -> None:
    """Makes the folder and those above it, and notes in `made` which ones were not there, outermost first."""
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        made.append(folder)


def _publish(beside: Path, folder: Path, *, force: bool) -> None:
    for file in beside.iterdir():
        _flush(file)
    if not force or not folder.exists():
        beside.rename(folder)  # fails where someone else has written the version meanwhile
        return
    for name in (MODEL, CARD, RESULTS):
        if (beside / name).exists():
            (beside / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def _flush(file: Path) -> None:
    """Brings the file to the disk, so that a power cut after the rename does not find it empty."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
