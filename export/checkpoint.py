"""Reads the checkpoint directories of `lapis-train` and rebuilds their generators."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from export.errors import CheckpointError, OptionError
from export.metadata import Data, Figures, Weights
from train.models import GeneratorConfig, UnknownArchitecture, build_generator, size_multiple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TrainingData(Data):
    """The data set as the model saw it: pictures of height x width pixels."""

    height: int
    width: int


class Training(_Section):
    """The settings of the training; all of them are kept for the model card."""

    model_config = ConfigDict(frozen=True, extra="allow")

    batch_size: int
    ema_decay: float = 0.0


class Config(_Section):
    """`config.json`."""

    format: Literal["lapis-checkpoint/1"]
    step: int
    epoch: int
    generator: dict[str, Any]
    data: TrainingData
    training: Training


class Metrics(_Section):
    """`metrics.json`; the figures are missing where the training was never validated."""

    validation: Figures | None = None
    baseline: Figures | None = None
    training_seconds: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint directory, read and found whole; `generator` carries the weights and is in eval mode.

    `best_weights` are those that the training validates and shows, whichever were loaded.
    """

    folder: Path
    config: Config
    metrics: Metrics
    architecture: GeneratorConfig
    generator: nn.Module
    weights: Weights
    best_weights: Weights
    sha256: str


S = TypeVar("S", bound=_Section)


def load(folder: Path, wanted: Literal["auto", "ema", "generator"]) -> Checkpoint:
    """Reads a checkpoint directory, or the latest one of a training run.

    Raises CheckpointError where it is not whole, OptionError where it lacks the wanted weights.
    """
    folder = _find(folder)
    config = _read(folder / "config.json", Config)
    metrics = _read(folder / "metrics.json", Metrics)
    architecture = _architecture(folder / "config.json", config)
    weights = _choose(folder, config.training, wanted)
    file = folder / f"{weights}.safetensors"
    generator = build_generator(architecture).eval().requires_grad_(requires_grad=False)
    tensors = _tensors(file)
    _check(file, generator.state_dict(), tensors)
    generator.load_state_dict(tensors)
    best = _choose(folder, config.training, "auto")
    return Checkpoint(folder, config, metrics, architecture, generator, weights, best, _sha256(file))


def _find(place: Path) -> Path:
    if not place.is_dir():
        raise CheckpointError(f"{place} is not a checkpoint directory; lapis-train writes them")
    latest = place / "latest"
    return latest.resolve() if latest.is_dir() and not (place / "config.json").exists() else place


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


def _choose(folder: Path, training: Training, wanted: Literal["auto", "ema", "generator"]) -> Weights:
    averaged = training.ema_decay > 0 or (folder / "ema.safetensors").exists()
    if wanted == "ema" and not averaged:
        raise OptionError(f"--weights ema: {folder} was trained without averaging; use --weights generator")
    if wanted == "auto":
        return "ema" if averaged else "generator"
    return wanted


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file.parent} is no whole checkpoint: {file.name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged or cut short: {error}") from error
    return tensors


def _check(file: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raises one error that lists, by name, every tensor that does not fit the network or is not finite."""
    problems = [f"missing {name}" for name in wanted if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in wanted]
    for name in [name for name in wanted if name in found]:
        if wanted[name].shape != found[name].shape:
            problems.append(f"{name} is {list(found[name].shape)} and should be {list(wanted[name].shape)}")
        elif not torch.isfinite(found[name]).all():
            problems.append(f"{name} holds NaN or infinity")
    if problems:
        raise CheckpointError(f"{file} does not fit its config.json: {'; '.join(problems)}")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        digest: str = hashlib.file_digest(stream, "sha256").hexdigest()
    return digest
