"""What a run was begun with, kept beside its outputs: those of two different runs are not to be mixed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from service.bulk.errors import BulkError

if TYPE_CHECKING:
    from service.bulk.settings import BulkSettings
    from service.bulk.storage import Storage
    from service.models.repository import ModelFile

FILE = ".lapis-bulk.json"
_DECISIVE = ("input", "fit", "size", "format", "quality", "seed")


def describe(settings: BulkSettings, model: ModelFile) -> dict[str, Any]:
    """Return all that the bytes of the outputs depend on."""
    with model.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    chosen = {name: getattr(settings, name) for name in _DECISIVE}
    return {"model": model.name, "version": model.version, "sha256": digest, **chosen}


def begin(output: Storage, description: dict[str, Any]) -> None:
    """Leave the description at the output; raises BulkError where another run's is there."""
    text = json.dumps(description, indent=2) + "\n"
    try:
        earlier = json.loads(output.read(FILE))
    except FileNotFoundError:
        output.write(FILE, text.encode())
        return
    except ValueError as error:
        raise BulkError(f"{output.place}/{FILE} is damaged; remove it, or give another --output") from error
    differing = [name for name, value in description.items() if earlier.get(name) != value]
    if differing:
        changes = ", ".join(f"{name} {earlier.get(name)!r}, now {description[name]!r}" for name in differing)
        raise BulkError(f"{output.place} was begun by another run ({changes}); give another --output")
