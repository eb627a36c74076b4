"""The model repository: a folder with NAME/VERSION/model.onnx, VERSION a whole number from 1, and NAME/labels.json.

Entries whose names begin with a dot are passed over, and links are followed, so that a volume whose `..data` link is
changed at one stroke, as Kubernetes does it, is a repository too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from service.errors import StartupError
from service.models.labels import LABELS_FILE, LabelsError, read_labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODEL_FILE = "model.onnx"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
VERSION = re.compile(r"[1-9][0-9]{0,8}")
# What file systems put beside our folders.
_FOREIGN = frozenset({"lost+found"})


class Place(NamedTuple):
    """Which version of which model."""

    name: str
    version: int


class Stamp(NamedTuple):
    """What changes when a file does: bytes, time of the last change in nanoseconds, and which file it is."""

    size: int
    modified: int
    inode: int


NO_STAMP = Stamp(0, 0, 0)


@dataclass(frozen=True)
class ModelFile:
    """One version of a model, as it was found."""

    name: str
    version: int
    path: Path
    stamp: Stamp = NO_STAMP

    @property
    def place(self) -> Place:
        """Which version of which model it is."""
        return Place(self.name, self.version)


@dataclass(frozen=True)
class Contents:
    """What a look into the repository found, in order of name and version.

    `labels` has the versions by label of every model with a labels file that can be used, `broken_labels` why another's
    cannot. `unread` are models whose folders could not be read, so that nothing is known of them; `passed_over` says of
    everything that is no part of a repository why it is not.
    """

    files: Mapping[Place, ModelFile] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    broken_labels: Mapping[str, str] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    passed_over: tuple[str, ...] = ()


def scan(root: Path) -> Contents:
    """Return what is in the repository.

    Raises StartupError for a folder that is missing, unreadable or empty, and for one that is laid out otherwise.
    """
    contents = look(root)
    for problem in (*contents.passed_over, *contents.broken_labels.values()):
        raise StartupError(problem)
    if not contents.files:
        raise StartupError(f"{root}: the model repository is empty; expected NAME/VERSION/{MODEL_FILE} in it")
    for model in contents.files.values():
        _check_readable(model.path)
    return contents


def look(root: Path) -> Contents:
    """Return what is in the repository, however it is laid out; raises StartupError when the folder cannot be read."""
    try:
        folders = _folders(root)
    except OSError as error:
        raise StartupError(_unreadable(error)) from error
    seen = _Look()
    for folder in folders:
        seen.into(folder)
    return Contents(seen.files, seen.labels, seen.broken_labels, frozenset(seen.unread), tuple(seen.passed_over))


class _Look:
    """What was seen so far."""

    def __init__(self) -> None:
        self.files: dict[Place, ModelFile] = {}
        self.labels: dict[str, dict[str, int]] = {}
        self.broken_labels: dict[str, str] = {}
        self.unread: set[str] = set()
        self.passed_over: list[str] = []

    def into(self, folder: Path) -> None:
        """Look into a model's folder."""
        if not NAME.fullmatch(folder.name):
            self.passed_over.append(f"{folder}: a model's name is made of letters, digits, '.', '_' and '-'")
            return
        try:
            self._versions(folder)
            self.labels |= {folder.name: labels} if (labels := read_labels(folder / LABELS_FILE)) is not None else {}
        except LabelsError as error:
            self.broken_labels[folder.name] = str(error)
        except OSError as error:
            self.unread.add(folder.name)
            self.passed_over.append(_unreadable(error))

    def _versions(self, folder: Path) -> None:
        numbered = [version for version in _folders(folder) if VERSION.fullmatch(version.name)]
        if not numbered:
            self.passed_over.append(f"{folder}: no version in it; expected {folder / '1' / MODEL_FILE}")
        for version in sorted(numbered, key=lambda path: int(path.name)):
            path = version / MODEL_FILE
            if path.is_file():
                model = ModelFile(folder.name, int(version.name), path, _stamp(path))
                self.files[model.place] = model
            else:
                self.passed_over.append(f"{path}: no such file; every version of a model needs one")


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino)


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise StartupError(f"{path}: the file is empty")
    except OSError as error:
        raise StartupError(_unreadable(error)) from error


def _unreadable(error: OSError) -> str:
    return f"the model repository cannot be read: {error.filename}: {error.strerror}"


def _folders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name not in _FOREIGN
    )
