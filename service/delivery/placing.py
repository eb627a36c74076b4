"""Putting what was received in place, so that a server that looks meanwhile never sees half of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.delivery.errors import Refused
from service.delivery.record import same
from service.models.labels import LABELS_FILE
from service.models.repository import MODEL_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.delivery.staging import Staging

# Labels come last, as they name versions that must be there; and the model after what lies beside it.
_ORDER = {MODEL_FILE: 1, LABELS_FILE: 2}


def put_in_place(files: Mapping[tuple[str, ...], tuple[str, ...]], staging: Staging, output: Path) -> None:
    """Move staged files to their paths in the repository.

    A new version comes with all its files at one stroke; into one that is there, each file does. What has the same
    bytes already is left alone, and so is everything that is not among the files. Raises Refused, before anything is
    moved, where something else is in the way.
    """
    places = {inner: staging.where(parts) for parts, inner in files.items()}
    for inner in sorted(places):
        _check_room(inner, output)
    for folder in sorted({inner[:2] for inner in places if len(inner) == 3}):
        if not output.joinpath(*folder).exists():
            _put_folder(folder, places, staging.folder, output)
    for inner in sorted(places, key=lambda inner: (_ORDER.get(inner[-1], 0), inner)):
        source, target = places[inner], output.joinpath(*inner)
        digest = next(staging.digests[parts] for parts, placed in files.items() if placed == inner)
        if source.exists() and not same(target, digest):
            source.replace(target)


def _check_room(inner: tuple[str, ...], output: Path) -> None:
    target = output.joinpath(*inner)
    if target.is_dir() and not target.is_symlink():
        raise Refused(f"{target}: is a folder; a file is to be put there")
    for depth in range(1, len(inner)):
        folder = output.joinpath(*inner[:depth])
        if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
            raise Refused(f"{folder}: is no folder; {inner[-1]} is to be put below it")


def _put_folder(folder: tuple[str, ...], places: Mapping[tuple[str, ...], Path], staging: Path, output: Path) -> None:
    assembled = staging / "-".join(folder)
    assembled.mkdir()
    for inner, source in places.items():
        if inner[:2] == folder and len(inner) == 3:
            source.rename(assembled / inner[-1])
    output.joinpath(folder[0]).mkdir(exist_ok=True)
    assembled.rename(output.joinpath(*folder))
