"""What every loader returns: a generator, and what is known of its training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from export.metadata import Data

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from export.metadata import Figures, Origin, Samples, Scaling, Weights
    from train.models import GeneratorConfig

Direction = Literal["AtoB", "BtoA"]


@dataclass(frozen=True)
class Wishes:
    """What the user says of a checkpoint; None leaves it to what is found there.

    A wish that contradicts the tensors is an error that names them.
    """

    weights: Literal["auto", "ema", "generator"] = "auto"
    netG: str | None = None
    norm: str | None = None
    ngf: int | None = None
    input_nc: int | None = None
    output_nc: int | None = None
    dropout: bool | None = None


@dataclass(frozen=True)
class Source:
    """A trained generator, read and found whole, and what is known of its training; None where nothing is.

    `generator` maps float [N, input_nc, H, W] to [N, output_nc, H, W] in [-1, 1]; it is in eval mode and takes no
    gradients. `height` and `width` are those that it was trained at. `gathered` tells whether its batch norms carry
    running statistics that were gathered in training. `recognised` tells the user in a phrase what was found.
    `best_weights` are those that the training validates and shows, whichever were loaded.
    """

    place: Path
    origin: Origin
    architecture: GeneratorConfig
    generator: nn.Module
    sha256: str
    recognised: str
    height: int
    width: int
    gathered: bool
    batch_size: int | None = None
    weights: Weights = "generator"
    best_weights: Weights = "generator"
    step: int | None = None
    epoch: int | None = None
    scaling: Scaling = "signed"
    dtype: Samples = "uint8"
    direction: Direction = "AtoB"
    data: Data = field(default_factory=Data)
    training: Mapping[str, Any] = field(default_factory=dict)
    training_seconds: float | None = None
    validation: Figures | None = None
    baseline: Figures | None = None
    examples: Path | None = None
    grid: Path | None = None
