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

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[1-9][0-9]*")


class Entry(NamedTuple):
    """A place in a model repository: `folder` is …/name/version."""

    folder: Path
    name: str
    version: str


class ExportSettings(CommandSettings):
    """Turns a checkpoint into one ONNX file that is proven equal to the network that was trained.

    `lapis-export CHECKPOINT --output models/NAME/VERSION` writes a model repository entry: model.onnx and a model card.
    The model is compared with PyTorch on real pictures first, and written only if it holds.
    `lapis-export --describe MODEL.onnx` prints what a model says about itself.
    """

    model_config = SettingsConfigDict(env_prefix="LAPIS_EXPORT_", cli_shortcuts={"as-json": "json"})

    checkpoint: CliPositionalArg[Path | None] = Field(
        None, description="checkpoint or run directory that lapis-train wrote"
    )
    output: Path | None = Field(
        None, description="folder to write, ending in NAME/VERSION; VERSION is a whole number from 1"
    )
    weights: Literal["auto", "ema", "generator"] = Field(
        "auto", description="averaged (ema) or last (generator) weights; auto: averaged where the checkpoint has them"
    )
    statistics: Literal["auto", "image", "running"] = Field(
        "auto",
        description="what normalises: each picture's own statistics (image), or those gathered in training, folded "
        "into the convolutions (running); auto: image if trained at batch size 1 or with instance norm, else running",
    )
    precision: Precision = Field(
        "fp32", description="fp16-weights stores the weights as halves and computes in fp32: half the file"
    )
    pictures: Path | None = Field(
        None, description="folder of real pictures to compare with PyTorch on; default: CHECKPOINT/examples"
    )
    max_difference: float | None = Field(
        None,
        ge=0,
        le=255,
        description="largest difference from PyTorch to accept, in levels of 255; default: 1 for fp32, 4 for "
        "fp16-weights",
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="where ONNX Runtime runs for the comparison")
    force: CliToggleFlag[bool] = Field(False, description="replace the version if it is there")
    describe: Path | None = Field(None, description="model file to describe instead of exporting")
    as_json: CliToggleFlag[bool] = Field(False, description="describe as JSON instead of a table")

    @field_validator("output")
    @classmethod
    def _ends_in_name_and_version(cls, output: Path | None) -> Path | None:
        if output is None:
            return None
        folder = _absolute(output)
        if not _VERSION.fullmatch(folder.name):
            raise ValueError("must end in NAME/VERSION with VERSION a whole number from 1, as in models/cats/1")
        if not _NAME.fullmatch(folder.parent.name):
            raise ValueError(
                "must end in NAME/VERSION with NAME made of letters, digits, '.', '_' and '-', as in models/cats/1"
            )
        return output

    @model_validator(mode="after")
    def _exports_or_describes(self) -> ExportSettings:
        if self.describe is not None:
            others = sorted(self.model_fields_set - {"describe", "as_json", "config"})
            if others:
                raise ValueError(f"--describe only reads a file; leave out {', '.join(map(_spelled, others))}")
        elif self.checkpoint is None:
            raise ValueError("give the CHECKPOINT to export, or --describe MODEL.onnx")
        elif self.output is None:
            raise ValueError("--output is required: the folder to write, as in models/NAME/VERSION")
        elif self.as_json:
            raise ValueError("--json goes with --describe")
        return self

    @property
    def entry(self) -> Entry:
        """The place that `--output` names."""
        assert self.output is not None  # noqa: S101 (the validators saw to it)
        folder = _absolute(self.output)
        return Entry(folder, folder.parent.name, folder.name)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links out of the repository)


def _spelled(field: str) -> str:
    return "CHECKPOINT" if field == "checkpoint" else "--" + field.replace("_", "-")
