"""Reads the checkpoint directories of `lapis-train` and rebuilds their generators."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from export.errors import CheckpointError, OptionError
from export.metadata import Data, Figures, Weights
from export.sources import tensors
from export.sources.source import Direction, Source, Wishes
from train.models import GeneratorConfig, UnknownArchitecture, build_generator, size_multiple

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

CONFIG = "config.json"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TrainingData(Data):
    """The data set as the model saw it: pictures of height x width pixels, of `bits` bits a sample."""

    height: int
    width: int
    direction: Direction = "AtoB"
    bits: Literal[8, 16] = 8


class Training(_Section):
    """The settings of the training; all of them are kept for the model card."""

    model_config = ConfigDict(frozen=True, extra="allow")

    batch_size: int
    sync_batchnorm: bool = False
    ema_decay: float = 0.0


class Config(_Section):
    """`config.json`."""

    format: Literal["lapis-checkpoint/1"]
    step: int
    epoch: int
    processes: int = 1
    generator: dict[str, Any]
    data: TrainingData
    training: Training

    @property
    def batch_size(self) -> int:
        """Pictures that a norm saw together: one process's, unless the processes shared their norms."""
        return self.training.batch_size * (self.processes if self.training.sync_batchnorm else 1)


class Metrics(_Section):
    """`metrics.json`; the figures are missing where the training was never validated."""

    validation: Figures | None = None
    baseline: Figures | None = None
    training_seconds: float | None = None


S = TypeVar("S", bound=_Section)


def is_checkpoint(place: Path) -> bool:
    """Tells whether this is a checkpoint directory, or a run with its latest one."""
    return any((folder / CONFIG).exists() for folder in (place, place / "latest"))


def load(place: Path, wishes: Wishes) -> Source:
    """Reads a checkpoint directory, or the latest one of a training run.

    Raises CheckpointError where it is not whole or is of another architecture than wished, OptionError where it lacks
    the wanted weights.
    """
    folder = place if (place / CONFIG).exists() else (place / "latest").resolve()
    config = _read(folder / CONFIG, Config)
    metrics = _read(folder / "metrics.json", Metrics)
    architecture = _architecture(folder / CONFIG, config)
    _refuse(folder, architecture, wishes)
    weights = _choose(folder, config.training, wishes.weights)
    file = folder / f"{weights}.safetensors"
    generator = build_generator(architecture).eval().requires_grad_(requires_grad=False)
    found = _tensors(file)
    tensors.check(file, generator.state_dict(), found)
    generator.load_state_dict(found)
    return Source(
        place=folder,
        origin="lapis",
        architecture=architecture,
        generator=generator,
        sha256=tensors.sha256(file),
        recognised=f"{architecture.netG}, ngf {architecture.ngf}, {architecture.norm} norm",
        height=config.data.height,
        width=config.data.width,
        gathered=True,
        batch_size=config.batch_size,
        weights=weights,
        best_weights=_choose(folder, config.training, "auto"),
        step=config.step,
        epoch=config.epoch,
        dtype="uint16" if config.data.bits == 16 else "uint8",
        direction=config.data.direction,
        data=Data.model_validate(config.data.model_dump()),
        training=config.training.model_dump(),
        training_seconds=metrics.training_seconds,
        validation=metrics.validation,
        baseline=metrics.baseline,
        examples=_there(folder / "examples"),
        grid=_there(folder / "grid.png"),
    )


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


def _read(path: Path, section: type[S]) -> S:
    try:
        return section.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is no whole checkpoint: {path.name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise CheckpointError(f"{path}: {'; '.join(_finding(dict(detail)) for detail in error.errors())}") from error


def _finding(detail: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{where} is missing"
    if detail["type"] == "json_invalid":
        return f"is not JSON{str(detail['msg']).removeprefix('Invalid JSON')}"
    return f"{where} is {json.dumps(detail['input'])[:60]}: {detail['msg']}"


def _architecture(path: Path, config: Config) -> GeneratorConfig:
    try:
        architecture = GeneratorConfig.from_mapping(config.generator)
    except UnknownArchitecture as error:
        raise CheckpointError(f"{path}: generator: {error}") from error
    multiple = size_multiple(architecture)
    height, width = config.data.height, config.data.width
    if height < multiple or width < multiple or height % multiple or width % multiple:
        raise CheckpointError(
            f"{path}: data is {height} x {width} pixels; {architecture.netG} needs multiples of {multiple}"
        )
    return architecture


def _refuse(folder: Path, architecture: GeneratorConfig, wishes: Wishes) -> None:
    """Raises CheckpointError where the user takes the checkpoint for another one than it is."""
    wished = {name: getattr(wishes, name) for name in ("netG", "norm", "ngf", "input_nc", "output_nc")}
    wished["use_dropout"] = wishes.dropout
    differ = [
        f"{name} {getattr(architecture, name)}, not {value}"
        for name, value in wished.items()
        if value is not None and value != getattr(architecture, name)
    ]
    if differ:
        raise CheckpointError(f"{folder / CONFIG}: the generator has {'; '.join(differ)}; leave the option out")


def _choose(folder: Path, training: Training, wanted: Literal["auto", "ema", "generator"]) -> Weights:
    averaged = training.ema_decay > 0 or (folder / "ema.safetensors").exists()
    if wanted == "ema" and not averaged:
        raise OptionError(f"--weights ema: {folder} was trained without averaging; use --weights generator")
    if wanted == "auto":
        return "ema" if averaged else "generator"
    return wanted


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(file)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file.parent} is no whole checkpoint: {file.name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged or cut short: {error}") from error
    return found
