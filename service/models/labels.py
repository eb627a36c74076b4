"""Labels of a model's versions: a file `NAME/labels.json` such as `{"stable": 3, "canary": 4}`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

LABELS_FILE = "labels.json"
LATEST = "latest"

_LABEL = re.compile(r"[a-z][a-z0-9-]{0,62}")
_LARGEST_FILE = 65_536
_LARGEST_VERSION = 999_999_999


class LabelsError(Exception):
    """The file says nothing that could be followed; the message is one line that names it."""


def read_labels(path: Path) -> dict[str, int] | None:
    """Return the versions by label, None where there is no such file; raises LabelsError."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LabelsError(f"{path}: {error.strerror}") from error
    if len(text) > _LARGEST_FILE:
        raise LabelsError(f"{path}: larger than {_LARGEST_FILE:,} bytes")
    try:
        return _labels(json.loads(text, object_pairs_hook=_pairs))
    except RecursionError as error:
        raise LabelsError(f"{path}: nested too deeply") from error
    except ValueError as error:
        what = "not JSON: " if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else ""
        raise LabelsError(f"{path}: {what}{error}") from error


def move(now: Mapping[str, int], wanted: Mapping[str, int], ready: Collection[int]) -> dict[str, int]:
    """Return which version each label names, of those wanted: it goes over to another only once that one is ready.

    So no request by label is refused while the version that it comes to name is still being loaded. A label that named
    nothing that is ready goes over at once.
    """
    return {
        label: now[label] if version not in ready and now.get(label) in ready else version
        for label, version in wanted.items()
    }


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what JSON allows and nobody means."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"label {name!r} stands there twice")
    return dict(pairs)


def _labels(contents: object) -> dict[str, int]:
    if not isinstance(contents, dict):
        raise ValueError('expected versions by label, as in {"stable": 3, "canary": 4}')  # noqa: TRY004 (the file's)
    for label, version in contents.items():
        if label == LATEST:
            raise ValueError(f"label {LATEST!r} is always the highest version that is ready; leave it out")
        if not _LABEL.fullmatch(label):
            raise ValueError(f"label {label!r}: expected small letters, digits and '-', a letter first")
        if type(version) is not int or not 1 <= version <= _LARGEST_VERSION:
            raise ValueError(f"label {label!r}: {version!r} is no version; expected a whole number from 1")
    return contents
