"""The options that the references write beside their checkpoints: `train_opt.txt`, `test_opt.txt`, `opt.txt`.

A line is `name: value`, with `[default: …]` behind it where the value is another. Whatever cannot be read is as good as
not there: these files only help.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from export.metadata import Data
from export.sources.source import Direction

if TYPE_CHECKING:
    from pathlib import Path

    from train.models import GeneratorConfig

from train.models import size_multiple, smallest_size

_FILES = ("train_opt.txt", "opt.txt", "test_opt.txt")
_LARGEST = 100_000  # bytes; the references write a few thousand
_LINE = re.compile(r"\s*(\w+): (.*?)\s*(\[default: .*\])?\s*")
# What earlier versions and pix2pixHD call the same.
_ALIASES = {
    "batchSize": "batch_size",
    "which_direction": "direction",
    "fineSize": "crop_size",
    "loadSize": "load_size",
    "niter": "n_epochs",
    "niter_decay": "n_epochs_decay",
    "which_model_netG": "netG",
    "resize_or_crop": "preprocess",
}
# What of them goes into the model card: the recipe, and nothing of the machine.
_RECIPE = (
    "model", "netG", "netD", "ngf", "ndf", "n_layers_D", "norm", "gan_mode", "lambda_L1", "lambda_feat", "batch_size",
    "lr", "lr_policy", "beta1", "n_epochs", "n_epochs_decay", "preprocess", "load_size", "crop_size", "no_flip",
    "no_dropout", "direction", "pool_size", "init_type", "label_nc", "no_instance",
)  # fmt: skip


class Options(BaseModel):
    """What the options say of a training; None where they say nothing that can be used."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    batch_size: int | None = Field(None, ge=1)
    direction: Direction | None = None
    crop_size: int | None = Field(None, ge=1)
    no_dropout: bool | None = None
    preprocess: str = ""
    data: Data = Data()
    recipe: dict[str, str] = {}

    @field_validator("batch_size", "direction", "crop_size", "no_dropout", mode="wrap")
    @classmethod
    def _nonsense_is_nothing(cls, value: object, handler: object) -> object:
        try:
            return handler(value)  # type: ignore[operator] # pydantic's own type for it is not public
        except ValueError:
            return None


def read(file: Path) -> Options:
    """Returns what the options beside a checkpoint say."""
    for name in _FILES:
        said = _lines(file.with_name(name))
        if said:
            # A test's batch size and direction are its own.
            batch_size = said.get("batch_size") if said.get("isTrain", "True") == "True" else None
            return Options.model_validate(
                {
                    **{key: said[key] for key in ("direction", "crop_size", "no_dropout", "preprocess") if key in said},
                    "batch_size": batch_size,
                    "data": Data(name=_data_set(said)),
                    "recipe": {key: said[key] for key in _RECIPE if said.get(key)},
                }
            )
    return Options()


def size(options: Options, architecture: GeneratorConfig, height: int, width: int) -> tuple[int, int]:
    """Returns the size of the training's crops where the generator can have seen it, else `height` and `width`."""
    side, multiple = options.crop_size, size_multiple(architecture)
    if side and "crop" in options.preprocess and side % multiple == 0 and smallest_size(architecture) <= side <= 4096:
        return side, side
    smallest = smallest_size(architecture)
    return max(height, smallest), max(width, smallest)


def _lines(file: Path) -> dict[str, str]:
    try:
        with file.open("rb") as stream:
            text = stream.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return {}
    found = {match[1]: match[2] for line in text.splitlines() if (match := _LINE.fullmatch(line))}
    return {_ALIASES.get(name, name): value.strip() for name, value in found.items()}


def _data_set(said: dict[str, str]) -> str:
    """Returns the last folder of `dataroot`, which is named as the data set is; not its path on another machine."""
    return re.split(r"[/\\]", said.get("dataroot", "").rstrip("/\\"))[-1].strip(".")
