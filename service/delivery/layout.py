"""Which files make a model repository, wherever it is found: in a folder, an archive, an image or an object store.

What counts is NAME/VERSION/model.onnx, NAME/labels.json, and what people should be able to read beside a model (README
and licence). Other files are passed over: the service would not look at them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from service.delivery.errors import Refused
from service.models.labels import LABELS_FILE
from service.models.repository import MODEL_FILE, NAME, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

ARCHIVES = (".tar", ".tar.gz", ".tgz")
SUMS_FILE = "SHA256SUMS"

_CARDS = re.compile(r"README(\.md|\.txt)?|LICEN[CS]E(\.md|\.txt)?|NOTICE(\.md|\.txt)?", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where a model belongs: NAME/VERSION."""

    name: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return the place named by "NAME/VERSION"; raises ValueError."""
        name, slash, version = text.partition("/")
        if not slash or not NAME.fullmatch(name) or not VERSION.fullmatch(version):
            raise ValueError("must be NAME/VERSION, as in facades/3, VERSION a whole number from 1")
        return cls(name, version)

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def safe_parts(path: str, where: str) -> tuple[str, ...]:
    """Return the parts of a path inside what is fetched from `where`; raises Refused where it would lead out of it."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise Refused(f"{where}: {path!r} leads out of the folder that it is to be put in")
    return pure.parts


def is_model(parts: tuple[str, ...]) -> bool:
    """Tell whether a path ends as that of a model does: NAME/VERSION/model.onnx."""
    return (
        len(parts) >= 3
        and parts[-1] == MODEL_FILE
        and VERSION.fullmatch(parts[-2]) is not None
        and NAME.fullmatch(parts[-3]) is not None
    )


def may_belong(parts: tuple[str, ...]) -> bool:
    """Tell whether a file with that name can be part of a repository, wherever that begins."""
    return bool(parts) and (parts[-1] in {MODEL_FILE, LABELS_FILE} or _CARDS.fullmatch(parts[-1]) is not None)


def select(
    paths: Iterable[tuple[str, ...]], where: str, place: Place | None = None
) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return the files of the repository among the paths, each with its path in the repository.

    The repository may begin at any depth, but there may be one only. With a `place` there must be one model only,
    wherever it lies, and it is put there. Raises Refused.
    """
    found = [parts for parts in paths if may_belong(parts)]
    if place:
        return _placed(found, where, place)
    roots = {parts[:-3] for parts in found if is_model(parts)}
    if not roots:
        raise Refused(_nothing_found(found, where))
    if len(roots) > 1:
        first, second = sorted("/".join(root) or "." for root in roots)[:2]
        raise Refused(f"{where}: holds two model repositories, {first} and {second}; name one of them")
    (root,) = roots
    depth = len(root)
    models = {parts[depth:-1] for parts in found if is_model(parts)}
    inside = {parts: parts[depth:] for parts in found if parts[:depth] == root}
    return {parts: inner for parts, inner in inside.items() if _belongs(inner, models)}


def _placed(found: list[tuple[str, ...]], where: str, place: Place) -> dict[tuple[str, ...], tuple[str, ...]]:
    models = sorted(parts for parts in found if parts[-1] == MODEL_FILE)
    if not models:
        raise Refused(_nothing_found(found, where))
    if len(models) > 1:
        raise Refused(
            f"{where}: --as {place} is for one model, and there are {len(models)}, as {'/'.join(models[0])} and "
            f"{'/'.join(models[1])}; name one of them"
        )
    folder = models[0][:-1]
    beside = [parts for parts in found if parts[:-1] == folder and parts[-1] != LABELS_FILE]
    return {parts: (place.name, place.version, parts[-1]) for parts in beside}


def _belongs(inner: tuple[str, ...], models: set[tuple[str, ...]]) -> bool:
    """Tell whether a file, by its path in the repository, belongs to one of its models (NAME, VERSION)."""
    if len(inner) == 2:
        return inner[0] in {name for name, _ in models} and inner[1] != MODEL_FILE
    return len(inner) == 3 and inner[:2] in models and inner[2] != LABELS_FILE


def _nothing_found(found: list[tuple[str, ...]], where: str) -> str:
    loose = [parts for parts in found if parts[-1] == MODEL_FILE]
    if loose:
        return f"{where}: {'/'.join(loose[0])} is not under NAME/VERSION/; say where it belongs with --as NAME/VERSION"
    return f"{where}: no model in it; expected NAME/VERSION/{MODEL_FILE}"
