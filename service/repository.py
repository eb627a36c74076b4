"""The model repository: a folder with NAME/VERSION/model.onnx, VERSION a whole number from 1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL_FILE = "model.onnx"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
# What file systems put beside our folders.
_FOREIGN = frozenset({"lost+found"})


@dataclass(frozen=True)
class ModelFile:
    """One version of a model."""

    name: str
    version: int
    path: Path


def scan(root: Path) -> list[ModelFile]:
    """Return the repository's models in order of name and version.

    Hidden entries and files beside the folders are passed over. Raises StartupError for a folder that is missing,
    unreadable or empty, and for one that is not laid out as a repository is.
    """
    try:
        found = [model for folder in _folders(root) for model in _versions(folder)]
    except OSError as error:
        raise StartupError(f"the model repository cannot be read: {error.filename}: {error.strerror}") from error
    if not found:
        raise StartupError(f"{root}: the model repository is empty; expected NAME/VERSION/{MODEL_FILE} in it")
    return found


def _versions(folder: Path) -> Iterator[ModelFile]:
    if not _NAME.fullmatch(folder.name):
        raise StartupError(f"{folder}: a model's name is made of letters, digits, '.', '_' and '-'")
    numbered = [version for version in _folders(folder) if _VERSION.fullmatch(version.name)]
    if not numbered:
        raise StartupError(f"{folder}: no version in it; expected {folder / '1' / MODEL_FILE}")
    for version in sorted(numbered, key=lambda path: int(path.name)):
        yield ModelFile(folder.name, int(version.name), _model_file(version))


def _model_file(folder: Path) -> Path:
    path = folder / MODEL_FILE
    if not path.is_file():
        raise StartupError(f"{path}: no such file; every version of a model needs one")
    with path.open("rb") as file:
        if not file.read(1):
            raise StartupError(f"{path}: the file is empty")
    return path


def _folders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name not in _FOREIGN
    )
