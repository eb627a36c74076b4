"""What earlier fetches put into a folder: kept in it, so that a fetch of what is there already ends at once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

RECORD_FILE = ".lapis-models.json"


class Fetched(BaseModel):
    """One fetch: what its source was then, the digest that it was held to, and its files with their SHA-256."""

    model_config = ConfigDict(frozen=True)

    identity: str
    sha256: str
    files: dict[str, str]


class Record(BaseModel):
    """All fetches into a folder, by what was asked for."""

    fetches: dict[str, Fetched] = {}

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Return the folder's record, an empty one where there is none that can be used."""
        try:
            return cls.model_validate_json((folder / RECORD_FILE).read_bytes())
        except (OSError, ValidationError):
            return cls()

    def write(self, folder: Path, staging: Path) -> None:
        """Put the record into the folder, at one stroke."""
        new = staging / RECORD_FILE
        new.write_text(self.model_dump_json(indent=2), encoding="utf-8")
        new.replace(folder / RECORD_FILE)


def still_there(fetched: Fetched, folder: Path) -> bool:
    """Tell whether every file of the fetch is in the folder, with the same bytes."""
    return all(same(folder / path, digest) for path, digest in fetched.files.items())


def same(path: Path, digest: str) -> bool:
    """Tell whether the file is there and has that SHA-256."""
    try:
        return sha256_of(path) == digest
    except OSError:
        return False


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
