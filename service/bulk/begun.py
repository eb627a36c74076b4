"""What a run was begun with, kept beside its outputs: those of two different runs are not to be mixed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from service.bulk.errors import BulkError
from service.bulk.storage import Storage, Unusable

if TYPE_CHECKING:
    from service.bulk.settings import BulkSettings
    from service.models.repository import ModelFile

FILE = ".lapis-bulk.json"
_DECISIVE = ("fit", "size", "format", "quality", "seed")


def describe(settings: BulkSettings, model: ModelFile) -> dict[str, Any]:
    """Return all that the bytes of the outputs depend on."""
    with model.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    chosen = {name: getattr(settings, name) for name in _DECISIVE}
    place = Storage(settings.input).absolute
    return {"model": model.name, "version": model.version, "sha256": digest, "input": place, **chosen}


def is_continued(output: Storage, description: dict[str, Any], output_there: str) -> bool:
    """Return whether an earlier run of the same is to be gone on with.

    `output_there` names one of the outputs that count as done; empty where there is none. Raises BulkError where they
    are another run's, or nobody's.
    """
    try:
        earlier = json.loads(output.read(FILE))
    except FileNotFoundError:
        if output_there:
            raise BulkError(
                f"{output.place}/{output_there} is there, but no {FILE} that says what it was made with; "
                "move such files away, or give another --output"
            ) from None
        return False
    except Unusable as error:
        raise BulkError(f"{output.place}/{FILE}: {error}") from error
    except ValueError:
        earlier = None
    if not isinstance(earlier, dict):
        raise BulkError(f"{output.place}/{FILE} is damaged; remove what is in {output.place}, or give another --output")
    _compare(output, {**earlier, "input": Storage(str(earlier.get("input"))).absolute}, description)
    return True


def _compare(output: Storage, earlier: dict[str, Any], description: dict[str, Any]) -> None:
    differing = [name for name, value in description.items() if earlier.get(name) != value]
    if differing:
        changes = ", ".join(f"{name} {earlier.get(name)!r}, now {description[name]!r}" for name in differing)
        raise BulkError(f"{output.place} was begun by another run ({changes}); give another --output")


def leave(output: Storage, description: dict[str, Any]) -> None:
    """Write the description, before the first output; raises BulkError where it cannot be written."""
    try:
        output.write(FILE, (json.dumps(description, indent=2) + "\n").encode())
    except Unusable as error:
        raise BulkError(f"{output.place}/{FILE}: {error}") from error
