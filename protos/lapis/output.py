"""Where translations are written: folders made and tried beforehand, files whole or not there."""

from __future__ import annotations

import os
import stat
import uuid
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FileFormat: TypeAlias = Literal["png", "jpeg", "webp"]

EXTENSIONS: dict[FileFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
# The extensions that count as pictures in a folder and in the name of an output file.
FORMATS: dict[str, FileFormat] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


class UnusablePaths(Exception):
    """Inputs or outputs that cannot be used; the message names them."""


def is_file_name(output: Path) -> bool:
    """Tells whether `output` means one picture rather than a folder of them."""
    return output.suffix.lower() in FORMATS and not output.is_dir()


def make_folders(folders: Iterable[Path]) -> None:
    """Makes the folders that the answers go to; raises UnusablePaths where they cannot be made or written to."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusablePaths(f"cannot make the folder {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UnusablePaths(f"cannot write to the folder {folder}")


def write(target: Path, content: bytes) -> None:
    """Writes the file whole or not at all."""
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def is_whole(target: str) -> bool:
    """Tells whether an earlier run wrote the file: a file in the making has another name, and an empty one is none.

    A file system that lost its power may keep a name and none of its bytes.
    """
    try:
        found = os.stat(target)  # noqa: PTH116 (asked a million times)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0
