"""A model file that is put to the test: on a device, with real pictures, and on the CPU for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from export import data, model_file, precision, proof

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime  # type: ignore[import-untyped]

    from export.data import Pictures
    from export.metadata import Metadata
    from export.precision import Bounds
    from export.proof import Device, Seeds, Translate
    from export.sources.source import Direction

MOST, PIXELS = 32, 32 * 256 * 256  # pictures, and their pixels in all: it takes a minute, not an hour
FEWEST = 4


@dataclass(frozen=True)
class Subject:
    """A model file on a device, with real pictures, [n, H, W, C], to try it on."""

    file: Path
    stored: bytes
    metadata: Metadata
    device: Device
    place: Path
    direction: Direction
    bounds: Bounds
    pictures: Pictures

    @classmethod
    def of(
        cls,
        file: Path,
        place: Path,
        device: Device,
        direction: Literal["auto", "AtoB", "BtoA"],
        max_difference: float | None,
    ) -> Subject:
        """Reads the file and the pictures."""
        metadata = model_file.read(file)
        given = metadata.input
        towards = metadata.direction if direction == "auto" else direction
        most = max(FEWEST, min(MOST, PIXELS // (given.height * given.width)))
        return cls(
            file=file,
            stored=file.read_bytes(),
            metadata=metadata,
            device=device,
            place=place,
            direction=towards,
            bounds=precision.bounds(metadata.precision, max_difference, metadata.output.dtype),
            pictures=data.load_inputs(place, given, direction=towards, most=most),
        )

    @property
    def exact(self) -> bool:
        """Whether the device has to give the very same bytes every time."""
        return self.device == "cpu"

    @property
    def accepted(self) -> float:
        """How far a picture may be from itself, run again or in a batch, in levels of 255."""
        return 0 if self.exact else self.bounds.largest

    @property
    def seeded(self) -> bool:
        """Whether the model takes seeds."""
        return self.metadata.noise == "seeded"

    def seeds(self, count: int) -> Seeds | None:
        """Returns a seed for each of `count` pictures, where the model takes them."""
        return proof.some_seeds(count) if self.seeded else None

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The model on the device, with all cores where that is the CPU."""
        return proof.open_session(self.stored, self.device)

    @cached_property
    def translate(self) -> Translate:
        """The model on the device."""
        return proof.translate_with(self.session)

    @cached_property
    def one_thread(self) -> Translate:
        """The model on this machine's CPU with one thread, what all else is held against."""
        return proof.translate_with(proof.open_session(self.stored, threads=1))

    @cached_property
    def all_threads(self) -> Translate:
        """The model on all cores of this machine's CPU."""
        return self.translate if self.exact else proof.translate_with(proof.open_session(self.stored))

    @cached_property
    def on_cpu(self) -> Pictures:
        """What the CPU makes of the pictures."""
        return one_by_one(self.one_thread, self.pictures, self.seeds(len(self.pictures)))


def one_by_one(translate: Translate, pictures: Pictures, seeds: Seeds | None) -> Pictures:
    """Returns the translations of the pictures, each run alone."""
    rows = [translate(pictures[i : i + 1], proof.row(seeds, i)) for i in range(len(pictures))]
    translated: Pictures = np.concatenate(rows)
    return translated
