"""What it takes to rebuild the networks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

DOWNS = {"unet_128": 7, "unet_256": 8}
NORMS = ("batch", "instance", "none")


class UnknownArchitecture(ValueError):
    """A configuration that names no network of ours; the message names the field and what it may be."""


@dataclass(frozen=True)
class GeneratorConfig:
    """A generator. The fields are named as in pytorch-CycleGAN-and-pix2pix.

    The last three tell the references' U-Nets apart: pix2pix-tensorflow has `all_biases` and `innermost_norm`; in
    pytorch-CycleGAN-and-pix2pix dropout begins one block after the innermost (no `innermost_dropout`).

    Raises UnknownArchitecture where a field is out of its range.
    """

    netG: str = "unet_256"
    input_nc: int = 3
    output_nc: int = 3
    ngf: int = 64
    norm: str = "batch"
    use_dropout: bool = True
    all_biases: bool = False
    innermost_norm: bool = False
    innermost_dropout: bool = True

    def __post_init__(self) -> None:
        _one_of("netG", self.netG, tuple(DOWNS))
        _one_of("norm", self.norm, NORMS)
        _positive(self, "input_nc", "output_nc", "ngf")

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> GeneratorConfig:
        """Reads what `dataclasses.asdict` wrote; unknown fields raise UnknownArchitecture."""
        return cls(**_known(cls, mapping))


@dataclass(frozen=True)
class DiscriminatorConfig:
    """A PatchGAN; `n_layers_D` 3 sees patches of 70x70 pixels. `input_nc` counts the channels of A and B together.

    Raises UnknownArchitecture where a field is out of its range.
    """

    input_nc: int = 6
    ndf: int = 64
    n_layers_D: int = 3
    norm: str = "batch"

    def __post_init__(self) -> None:
        _one_of("norm", self.norm, NORMS)
        _positive(self, "input_nc", "ndf", "n_layers_D")

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> DiscriminatorConfig:
        """Reads what `dataclasses.asdict` wrote; unknown fields raise UnknownArchitecture."""
        return cls(**_known(cls, mapping))


def size_multiple(config: GeneratorConfig) -> int:
    """Returns the number that height and width must be multiples of: the bottleneck is then 1x1 or larger."""
    return int(2 ** DOWNS[config.netG])


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UnknownArchitecture(f"{field} is {value!r}; known are {', '.join(allowed)}")


def _positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UnknownArchitecture(f"{name} is {value!r}; it must be a whole number from 1")


def _known(cls: type, mapping: dict[str, Any]) -> dict[str, Any]:
    names = [field.name for field in fields(cls)]
    unknown = sorted(set(mapping) - set(names))
    if unknown:
        raise UnknownArchitecture(f"unknown field {', '.join(unknown)}; known are {', '.join(names)}")
    return mapping
