"""The settings of `lapis-export`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from lapis.command import CommandSettings
from pydantic import Field, field_validator, model_validator
from pydantic_settings import CliPositionalArg, CliToggleFlag, SettingsConfigDict

from export.metadata import Precision

_NETG = r"unet_[1-9][0-9]*|resnet_[1-9][0-9]*blocks|global"
_SHORT = {"as_json": "json", "validate_on": "validate"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[1-9][0-9]*")
_SIZE = re.compile(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}")


# What each mode takes: how it is called, its paths, the options that go with it, and what is wrong with any other.
_USAGE = {
    "export": "lapis-export CHECKPOINT --output models/NAME/VERSION",
    "describe": "lapis-export --describe MODEL.onnx",
    "verify": "lapis-export --verify MODEL.onnx DATA",
    "compare": "lapis-export --compare A.onnx B.onnx DATA",
}
_PATHS = {"export": ["CHECKPOINT"], "describe": [], "verify": ["DATA"], "compare": ["B", "DATA"]}
_GO_WITH = {
    "describe": {"as_json"},
    "verify": {"as_json", "device", "direction", "max_difference"},
    "compare": {"as_json", "device", "direction", "output", "force"},
}
_ONLY = {
    "describe": "only reads a file",
    "verify": "only runs a model",
    "compare": "only runs two models",
}


class Entry(NamedTuple):
    """A place in a model repository: `folder` is …/name/version."""

    folder: Path
    name: str
    version: str


class ExportSettings(CommandSettings):
    """Turns a checkpoint into one ONNX file that is proven equal to the network that was trained.

    `lapis-export CHECKPOINT --output models/NAME/VERSION` writes a model repository entry: model.onnx and a model card.
    CHECKPOINT is a checkpoint or run directory of lapis-train, latest_net_G.pth of pytorch-CycleGAN-and-pix2pix or of
    pix2pixHD, or a .pict file or a TensorFlow checkpoint of pix2pix-tensorflow; what it holds is recognised. The model
    is compared with PyTorch on real pictures first, and written only if it holds.
    `lapis-export --describe MODEL.onnx` prints what a model says about itself, `--verify MODEL.onnx DATA` proves it
    again on this machine, `--compare A.onnx B.onnx DATA` tells two models apart. DATA is a folder of pictures or a
    data set of pairs.
    """

    model_config = SettingsConfigDict(
        env_prefix="LAPIS_EXPORT_", cli_shortcuts={"as-json": "json", "validate-on": "validate"}
    )

    paths: CliPositionalArg[list[Path]] = Field(
        [], description="CHECKPOINT; or DATA with --verify, B and DATA with --compare"
    )
    output: Path | None = Field(
        None,
        description="folder to write, ending in NAME/VERSION; VERSION is a whole number from 1; with --compare: "
        "the picture to write (default: compare.png)",
    )
    weights: Literal["auto", "ema", "generator"] = Field(
        "auto", description="averaged (ema) or last (generator) weights; auto: averaged where the checkpoint has them"
    )
    netG: str | None = Field(
        None,
        pattern=rf"^({_NETG})$",
        description="the generator, as unet_256, resnet_9blocks or global; default: recognised by its tensors",
    )
    norm: Literal["batch", "instance", "none"] | None = Field(None, description="its norm; default: recognised")
    ngf: int | None = Field(None, ge=1, description="filters of its first layer; default: recognised")
    input_nc: int | None = Field(None, ge=1, description="channels that it takes; default: recognised")
    output_nc: int | None = Field(None, ge=1, description="channels that it gives; default: recognised")
    dropout: bool | None = Field(
        None,
        description="whether it was trained with dropout, which leaves no trace in U-Nets; matters to --noise alone",
    )
    scaling: Literal["auto", "signed", "unit"] = Field(
        "auto",
        description="range that it takes samples in: [-1, 1] (signed) or [0, 1] (unit); auto: unit for label maps of "
        "pix2pixHD with more than 4 channels, else signed",
    )
    lab_colorization: Literal["auto", "on", "off"] = Field(
        "auto",
        description="it takes L and gives a and b: put the conversion from and to RGB into the graph; auto: on for 1 "
        "channel to 2",
    )
    bits: Literal["auto", "8", "16"] = Field(
        "auto", description="bits of a sample, in and out; auto: 16 where it was trained on pictures of 16 bits"
    )
    size: str = Field(
        "auto",
        description="HEIGHTxWIDTH that the graph takes, or dynamic: any multiples of what the network needs; auto: "
        "dynamic for residual generators, the size it was trained at for U-Nets",
    )
    statistics: Literal["auto", "image", "running"] = Field(
        "auto",
        description="what normalises: each picture's own statistics (image), or those gathered in training, folded "
        "into the convolutions (running); auto: the better of both on --validate, else image if trained at batch size "
        "1, in a reference implementation or with instance norm, else running",
    )
    validate_on: Path | None = Field(
        None, description="data set of held-out pairs: measures the model on it, and with both kinds of statistics"
    )
    noise: Literal["off", "seeded"] = Field(
        "off", description="dropout at translation: off, or seeded: the graph takes an int64 seed for each picture"
    )
    precision: Precision = Field(
        "fp32",
        description="fp16-weights stores the weights as halves and computes in fp32; fp16 computes in halves, for "
        "GPUs; int8 computes in bytes, for CPUs, and needs --calibrate",
    )
    calibrate: Path | None = Field(None, description="folder of pictures or data set to measure int8's ranges on")
    optimize_for: Literal["cpu", "cuda"] | None = Field(
        None, description="hardware to choose the graph's forms for; default: cuda for fp16, else cpu"
    )
    direction: Literal["auto", "AtoB", "BtoA"] = Field(
        "auto", description="which side of a pair is the input; auto: as it was trained, else AtoB"
    )
    pictures: Path | None = Field(
        None,
        description="folder of real pictures to compare with PyTorch on; default: the checkpoint's examples, else the "
        "pictures of --validate or --calibrate",
    )
    max_difference: float | None = Field(
        None,
        ge=0,
        le=255,
        description="largest difference from PyTorch to accept, in levels of 255; default: by the precision",
    )
    device: Literal["cpu", "cuda", "tensorrt"] = Field("cpu", description="where ONNX Runtime runs for the comparison")
    dataset: str | None = Field(None, description="name of the data set it was trained on, for the model card")
    licence: str | None = Field(None, description="licence of that data set and so of the model")
    attribution: str | None = Field(None, description="who is to be named with it")
    url: str | None = Field(None, description="where the data set is")
    force: CliToggleFlag[bool] = Field(
        False, description="replace what is there: the version, or the picture of --compare"
    )
    describe: Path | None = Field(None, description="model file to describe instead of exporting")
    verify: Path | None = Field(None, description="model file to prove again here, on the pictures of DATA")
    compare: Path | None = Field(None, description="model file to compare with another, B, on the pictures of DATA")
    as_json: CliToggleFlag[bool] = Field(False, description="describe, verify or compare as JSON instead of a table")

    @field_validator("size")
    @classmethod
    def _size_is_known(cls, size: str) -> str:
        if size not in {"auto", "dynamic"} and not _SIZE.fullmatch(size):
            raise ValueError("must be auto, dynamic, or HEIGHTxWIDTH in pixels, as in 512x1024")
        return size

    @model_validator(mode="after")
    def _does_one_thing(self) -> ExportSettings:
        wanted = [mode for mode in ("describe", "verify", "compare") if getattr(self, mode) is not None]
        if len(wanted) > 1:
            raise ValueError(f"--{wanted[0]} and --{wanted[1]}: one at a time")
        mode = wanted[0] if wanted else "export"
        others = sorted(self.model_fields_set - {"config", "paths", mode} - _GO_WITH[mode]) if wanted else []
        if others:
            raise ValueError(f"--{mode} {_ONLY[mode]}; leave out {', '.join(map(_spelled, others))}")
        if len(self.paths) != len(_PATHS[mode]):
            given = " ".join(map(str, self.paths)) or "nothing"
            raise ValueError(f"wanted is {_USAGE[mode]}; given was {given} beside the options")
        if mode == "export":
            self._exports()
        return self

    def _exports(self) -> None:
        """Raises ValueError where what is wanted of an export does not go together."""
        if self.output is None:
            raise ValueError("--output is required: the folder to write, as in models/NAME/VERSION")
        folder = _absolute(self.output)
        if not _VERSION.fullmatch(folder.name):
            raise ValueError(
                "--output must end in NAME/VERSION with VERSION a whole number from 1, as in models/cats/1"
            )
        if not _NAME.fullmatch(folder.parent.name):
            raise ValueError(
                "--output must end in NAME/VERSION with NAME made of letters, digits, '.', '_' and '-', as in "
                "models/cats/1"
            )
        if self.as_json:
            raise ValueError("--json goes with --describe, --verify and --compare")
        if self.precision == "int8" and self.calibrate is None:
            raise ValueError("--precision int8 needs --calibrate: a folder of pictures like those it will translate")
        if self.calibrate is not None and self.precision != "int8":
            raise ValueError("--calibrate goes with --precision int8")

    @property
    def entry(self) -> Entry:
        """The place that `--output` names."""
        assert self.output is not None  # noqa: S101 (the validators saw to it)
        folder = _absolute(self.output)
        return Entry(folder, folder.parent.name, folder.name)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links out of the repository)


def _spelled(field: str) -> str:
    return "--" + _SHORT.get(field, field.replace("_", "-"))
