"""What it takes to rebuild the networks."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

DOWNS = {f"unet_{2**depth}": depth for depth in range(5, 11)}  # unet_32 … unet_1024: down to 1x1 at that size
RESNET_DOWNS = 2
NORMS = ("batch", "instance", "none")
_RESNET = re.compile(r"resnet_([1-9]\d?)blocks")


class UnknownArchitecture(ValueError):
    """A configuration that names no network of ours; the message names the field and what it may be."""


@dataclass(frozen=True)
class GeneratorConfig:
    """A generator. The fields are named as in pytorch-CycleGAN-and-pix2pix and, those of "global", in pix2pixHD.

    `netG` is a U-Net (unet_32 … unet_1024), a ResNet (resnet_6blocks, resnet_9blocks, or any other number from 1 to 99)
    or "global", the global generator of pix2pixHD, which alone heeds `n_downsample_global` and `n_blocks_global`.
    `norm_affine` gives an instance norm a scale and a shift. With `all_biases` a convolution that a batch norm follows
    has a bias too, as in pix2pix-tensorflow; in "global" it always has.

    `innermost_norm` and `innermost_dropout` tell the references' U-Nets apart: pix2pix-tensorflow has the first; in
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
    norm_affine: bool = False
    n_downsample_global: int = 4
    n_blocks_global: int = 9

    def __post_init__(self) -> None:
        if not (self.netG in DOWNS or self.netG == "global" or _RESNET.fullmatch(str(self.netG))):
            known = f"{', '.join(DOWNS)}, resnet_Nblocks with N from 1 to 99, global"
            raise UnknownArchitecture(f"netG is {self.netG!r}; known are {known}")
        _one_of("norm", self.norm, NORMS)
        _positive(self, "input_nc", "output_nc", "ngf", "n_downsample_global", "n_blocks_global")

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


def downs(config: GeneratorConfig) -> int:
    """Returns how often the network halves height and width."""
    if config.netG == "global":
        return config.n_downsample_global
    return DOWNS.get(config.netG, RESNET_DOWNS)


def blocks(config: GeneratorConfig) -> int:
    """Returns the number of residual blocks; 0 for a U-Net."""
    if config.netG == "global":
        return config.n_blocks_global
    resnet = _RESNET.fullmatch(config.netG)
    return int(resnet[1]) if resnet else 0


def size_multiple(config: GeneratorConfig) -> int:
    """Returns the number that height and width must be multiples of: each halving then leaves whole pixels."""
    return int(2 ** downs(config))


def smallest_size(config: GeneratorConfig) -> int:
    """Returns the smallest height and width: 1 pixel at the narrowest place of a U-Net.

    Elsewhere 2 pixels, which is what reflecting one needs, and 4 at the ends, where three are reflected.
    """
    multiple = size_multiple(config)
    return max(2 * multiple, 4) if blocks(config) else multiple


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
