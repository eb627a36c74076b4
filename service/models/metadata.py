"""The description that export writes into a model, `metadata_props["lapis"]`, as far as the service relies on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "lapis"
_LARGEST_BATCH = 4096


class _Section(BaseModel):
    # Whatever else export writes is for people.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Described(_Section):
    """One side of the graph, as the file describes it; a `multiple` of 0 means that it has one size alone."""

    height: PositiveInt
    width: PositiveInt
    channels: PositiveInt
    dtype: Literal["uint8", "uint16"] = "uint8"
    multiple: NonNegativeInt = 0
    smallest: NonNegativeInt = 0

    def __str__(self) -> str:
        size = "any size" if self.multiple else f"{self.height} x {self.width}"
        return f"{size}, {self.channels} channel{'s' * (self.channels > 1)} of {self.dtype}"


class Fingerprint(_Section):
    """A picture and its translation by the exported graph on the CPU: PNG files in base64, see fingerprint.py.

    Of a large model every `every`-th row and column is kept. `max_difference` is in levels of 255.
    """

    input: str
    translation: str
    every: int = Field(1, ge=1)
    max_difference: float = Field(ge=0, le=255)


class Batching(_Section):
    """How the model's author wants it batched; 0 and () leave it to the server. `max_queue_delay` is in seconds."""

    max_batch_size: int = Field(0, ge=0, le=_LARGEST_BATCH)
    buckets: tuple[int, ...] = ()
    max_queue_delay: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _buckets_rise_to_the_largest_batch(self) -> Self:
        if list(self.buckets) != sorted(set(self.buckets)) or any(size < 1 for size in self.buckets):
            raise ValueError("buckets must be batch sizes from 1 in rising order")
        if self.buckets and self.buckets[-1] > _LARGEST_BATCH:
            raise ValueError(f"the largest batch is {_LARGEST_BATCH:,}")
        if self.buckets and self.max_batch_size not in {0, self.buckets[-1]}:
            raise ValueError(f"the largest bucket is {self.buckets[-1]}, but max_batch_size is {self.max_batch_size}")
        return self


class _Contents(_Section):
    """The part of the description that the service relies on."""

    format: Literal["lapis-model/1"]
    input: Described
    output: Described
    noise: Literal["off", "seeded", ""] = ""
    fingerprint: Fingerprint | None = None
    batching: Batching = Batching()


@dataclass(frozen=True)
class Description:
    """What a model says about itself; `text` is all of it, as JSON, but for the fingerprint's pictures.

    `input` and `output` are None, and `noise` is "", where it says nothing of them.
    """

    text: str = ""
    input: Described | None = None
    output: Described | None = None
    noise: str = ""
    fingerprint: Fingerprint | None = None
    batching: Batching = field(default_factory=Batching)


def read_description(path: Path, entries: Mapping[str, str]) -> Description:
    """Return what the file says about itself, an empty description where it says nothing.

    Raises StartupError when it cannot be read. Whether it is true of the graph is for the contract to see.
    """
    text = entries.get(KEY)
    if text is None:
        return Description()
    try:
        contents = _Contents.model_validate_json(text)
    except ValidationError as error:
        finding = error.errors()[0]
        where = ".".join(str(part) for part in finding["loc"])
        raise StartupError(f"{path}: metadata {KEY!r}: {where + ': ' if where else ''}{finding['msg']}") from error
    return Description(
        _without_pictures(text),
        contents.input,
        contents.output,
        contents.noise,
        contents.fingerprint,
        contents.batching,
    )


def _without_pictures(text: str) -> str:
    """Leave out of the description what is of no use to those who read it: callers list models often."""
    contents = json.loads(text)
    return text if contents.pop("fingerprint", None) is None else json.dumps(contents)
