"""What is exported, and how: settled before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from export import forms, noise, sizes, statistics
from export.errors import OptionError
from export.metadata import PictureSpec
from export.proof import some_seeds
from export.translator import Translator

if TYPE_CHECKING:
    from torch import nn

    from export.metadata import Decoder, Samples, Scaling, Statistics, Target
    from export.proof import Seeds
    from export.settings import ExportSettings
    from export.sources.source import Direction, Source

RGB = 3
_LARGE = 256 * 256  # pixels
_LAB = (1, 2)  # channels of lightness, and of colour


class Sides(NamedTuple):
    """The two sides of the graph."""

    given: PictureSpec
    made: PictureSpec


@dataclass(frozen=True)
class Plan:
    """A source, and what the settings make of it; "auto" is settled here but for the statistics."""

    settings: ExportSettings
    source: Source
    sides: Sides
    scaling: Scaling
    lab: bool
    direction: Direction
    target: Target
    decoder: Decoder

    @property
    def seeded(self) -> bool:
        """Whether the graph takes a seed for each picture."""
        return self.settings.noise == "seeded"

    def seeds(self, count: int) -> Seeds | None:
        """Returns a seed for each of so many pictures, where the graph takes them."""
        return some_seeds(count) if self.seeded else None

    def reference(self, chosen: Statistics) -> Translator:
        """Returns the network as the references run it at test time, one picture at a time."""
        return self._translator(statistics.as_reference(self.source.generator, chosen))

    def exported(self, chosen: Statistics) -> Translator:
        """Returns the network as it stands in the graph: rows of a batch leave each other alone."""
        return self._translator(statistics.freeze(self.source.generator, chosen, wide=self._wide), self.decoder)

    @property
    def _wide(self) -> bool:
        """Whether sums over a whole map need care: they are large, and the arithmetic is exact enough to show it."""
        given = self.sides.given
        large = given.any_size or given.height * given.width > _LARGE
        return large and self.settings.precision in {"fp32", "fp16-weights"}

    def _translator(self, generator: nn.Module, decoder: Decoder = "transposed") -> Translator:
        if self.seeded:
            generator = noise.seed_dropout(generator)
        given, made = self.sides
        generator = forms.rewrite(generator, decoder)
        return Translator(
            generator, given=given, made=made, scaling=self.scaling, lab=self.lab, seeded=self.seeded
        ).eval()


def settle(settings: ExportSettings, source: Source) -> Plan:
    """Returns the plan; raises OptionError for what this source cannot follow."""
    lab = _is_lab(settings, source)
    by_bits: dict[str, Samples] = {"auto": source.dtype, "8": "uint8", "16": "uint16"}
    dtype = by_bits[settings.bits]
    if dtype == "uint16" and settings.precision == "int8":
        raise OptionError("--precision int8: bytes cannot carry samples of 16 bits; use fp32, or --bits 8")
    target: Target = settings.optimize_for or ("cuda" if settings.precision == "fp16" else "cpu")
    return Plan(
        settings=settings,
        source=source,
        sides=_sides(settings, source, dtype, lab=lab),
        scaling=source.scaling if settings.scaling == "auto" else settings.scaling,
        lab=lab,
        direction=source.direction if settings.direction == "auto" else settings.direction,
        target=target,
        decoder=forms.choose(target, settings.precision),
    )


def _is_lab(settings: ExportSettings, source: Source) -> bool:
    channels = source.architecture.input_nc, source.architecture.output_nc
    if settings.lab_colorization == "on" and channels != _LAB:
        raise OptionError(
            f"--lab-colorization on: such a generator takes 1 channel and gives 2, this one takes {channels[0]} and "
            f"gives {channels[1]}"
        )
    return settings.lab_colorization == "on" or (settings.lab_colorization == "auto" and channels == _LAB)


def _sides(settings: ExportSettings, source: Source, dtype: Samples, *, lab: bool) -> Sides:
    height, width, multiple, smallest = sizes.choose(settings.size, source.architecture, source.height, source.width)
    channels = (RGB, RGB) if lab else (source.architecture.input_nc, source.architecture.output_nc)
    given, made = (
        PictureSpec.of(height, width, count, dtype=dtype, multiple=multiple, smallest=smallest) for count in channels
    )
    return Sides(given, made)
