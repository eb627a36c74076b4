"""The description that export writes into a model, `metadata_props["lapis"]`: read, and held against the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ValidationError

from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.engine.contract import PictureShape

KEY = "lapis"


class _Picture(BaseModel):
    height: int
    width: int
    channels: int


class _Description(BaseModel):
    """The part of the description that the service relies on; the rest is for people and passed on as it is."""

    format: Literal["lapis-model/1"]
    input: _Picture
    output: _Picture


def checked_metadata(path: Path, entries: Mapping[str, str], given: PictureShape, made: PictureShape) -> str:
    """Return the description as JSON, or "" where the file carries none.

    Raises StartupError when it cannot be read or contradicts the graph, which takes `given` and gives `made`.
    """
    text = entries.get(KEY)
    if text is None:
        return ""
    try:
        description = _Description.model_validate_json(text)
    except ValidationError as error:
        finding = error.errors()[0]
        field = ".".join(str(part) for part in finding["loc"])
        raise StartupError(f"{path}: metadata {KEY!r}: {field + ': ' if field else ''}{finding['msg']}") from error
    for name, described, actual in (("input", description.input, given), ("output", description.output, made)):
        if vars(described) != vars(actual):
            raise StartupError(
                f"{path}: metadata {KEY!r}: {name} is described as {described}, but the graph's is {actual}"
            )
    return text
