"""From settings to a run: finds and checks the pairs, builds the networks or restores them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from train.checkpoint import find_checkpoint, read_metrics, read_settings, restore
from train.data.dataset import PairDataset
from train.data.layouts import Pair, check_pairs, describe, find_pairs, splits
from train.errors import TrainError
from train.loop import Run
from train.settings import TrainSettings
from train.state import new_state
from train.world import ALONE, World

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

# What a resumed run may not change: another value would be another run.
FIXED = (
    "netG",
    "n_downsample_global",
    "n_blocks_global",
    "ngf",
    "ndf",
    "n_layers_D",
    "norm",
    "input_nc",
    "output_nc",
    "dropout",
    "direction",
    "batch_size",
    "sync_batchnorm",
)


def prepare(settings: TrainSettings, world: World = ALONE) -> Run:
    """Finds and checks the pairs, and builds the networks or restores them.

    Of several processes the main one looks, so that all go by the same settings and the pairs are decoded once.
    """
    settings, data, folder, checkpoint = world.from_main(partial(_settled, settings, world))
    training, held_out = world.from_main(partial(_sound_pairs, settings, data))
    state = world.together(partial(new_state, settings, world))
    if checkpoint:
        restore(state, checkpoint, settings)
    run = Run(
        settings=settings,
        folder=folder,
        state=state,
        training=PairDataset(training, settings, augment=True),
        held_out=PairDataset(held_out, settings, augment=False) if held_out else None,
        metrics=world.from_main(partial(read_metrics, checkpoint)) if checkpoint else {},
        checkpoint=checkpoint,
    )
    # The folder last, so that nothing is left of a run that cannot start.
    run.data = world.from_main(partial(_described, run, data))
    world.from_main(partial(_begin, run))
    return run


def _settled(settings: TrainSettings, world: World) -> tuple[TrainSettings, Path, Path, Path | None]:
    """Returns the settings that hold, the folders of the data set and of the run, and the checkpoint to go on from."""
    checkpoint = _checkpoint(settings)
    if checkpoint:
        settings = _resumed(settings, checkpoint)
    if settings.data is None:
        raise TrainError("name the folder of a data set, or --resume a run")
    _check_norm(settings, world)
    return settings, settings.data, _run_folder(settings, checkpoint), checkpoint


def _checkpoint(settings: TrainSettings) -> Path | None:
    if settings.resumes_by_itself and settings.output:
        return find_checkpoint(settings.output) if _holds_a_run(settings.output) else None
    return find_checkpoint(settings.resume) if settings.resume else None


def _begin(run: Run) -> None:
    """Makes the run's folder, unless there is nothing to do in it."""
    if not run.finished:
        _make_writable(run.folder)
    elif not run.settings.resumes_by_itself:
        raise TrainError(f"{run.folder}: finished after {run.state.step} steps; --n-epochs or --max-steps adds more")


def _check_norm(settings: TrainSettings, world: World) -> None:
    if not settings.sync_batchnorm:
        return
    if world.alone and settings.batch_size == 1:
        raise TrainError("--sync-batchnorm: one process with batches of 1 has nothing to share; start several")
    if not world.alone and (settings.device == "cpu" or not torch.cuda.is_available()):
        raise TrainError("--sync-batchnorm: PyTorch shares batch norms between GPUs only; leave it out on the CPU")


def _resumed(settings: TrainSettings, checkpoint: Path) -> TrainSettings:
    """Returns the checkpoint's settings with those on top that were given now."""
    saved = read_settings(checkpoint)
    given = settings.model_dump(include=settings.model_fields_set)
    try:
        begun = TrainSettings(**saved)
        for name in FIXED:
            before = begun.drops if name == "dropout" else getattr(begun, name)
            if name in given and given[name] != before:
                flag = f"--{name.replace('_', '-')}"
                raise TrainError(f"{flag} {given[name]}: the run was begun with {before}; that cannot change")
        return TrainSettings(**(saved | given))
    except ValidationError as error:
        raise TrainError(
            f"{checkpoint / 'config.json'}: settings cannot be used ({error.errors()[0]['msg']})"
        ) from error


def _run_folder(settings: TrainSettings, checkpoint: Path | None) -> Path:
    if settings.output is None:
        if checkpoint:
            return checkpoint.parent
        raise TrainError("--output: name the folder of the run")
    if checkpoint is None and _holds_a_run(settings.output):
        raise TrainError(f"{settings.output}: holds a run already; --resume it, or name another folder")
    return settings.output


def _holds_a_run(folder: Path) -> bool:
    return any(folder.glob("step-*"))


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TrainError(f"{folder}: cannot be written ({error.strerror})") from error


def _sound_pairs(settings: TrainSettings, data: Path) -> tuple[list[Pair], list[Pair]]:
    """Returns the pairs to train on and those held out."""
    forward = settings.direction == "AtoB"
    channels = (settings.input_nc, settings.output_nc) if forward else (settings.output_nc, settings.input_nc)

    def sound(split: str | None) -> list[Pair]:
        found = find_pairs(data, split)
        return check_pairs(found, *channels, skip_bad=settings.skip_bad, what=str(data / (split or "")))

    train_split, held_out_split = splits(data)
    return sound(train_split), sound(held_out_split) if held_out_split else []


def _described(run: Run, data: Path) -> dict[str, Any]:
    settings = run.settings
    return describe(data) | {
        "height": settings.crop_size,
        "width": settings.crop_size,
        "input_nc": settings.input_nc,
        "output_nc": settings.output_nc,
        "direction": settings.direction,
        "bits": max(8 * picture.itemsize for picture in run.training.pictures(0)),
        "train_pairs": len(run.training),
        "validation_pairs": len(run.held_out) if run.held_out else 0,
    }


def announcement(run: Run) -> str:
    """Says what is about to be trained."""
    settings, state = run.settings, run.state
    weights_G, weights_D = (_parameters(network) for network in (state.generator, state.discriminator))
    number_format = str(state.dtype).removeprefix("torch.") if state.dtype else "float32"
    held_out = f"{len(run.held_out):,} held out" if run.held_out else "none held out"
    lines = [
        f"{settings.data}: {len(run.training):,} pairs to learn from, {held_out}",
        f"{settings.netG} {weights_G:,} parameters, PatchGAN {weights_D:,} parameters",
        f"{state.device}, {number_format}, {_batches(run)}, {run.total_steps:,} steps",
    ]
    if state.step:
        lines.append(f"going on from step {state.step}")
    if state.begun_with not in {None, state.world.size}:
        lines.append(
            f"the checkpoint is of {_processes(state.begun_with)}: steps now see {run.step_pairs} pairs, "
            "and the run is not to the bit what it would have been"
        )
    return "\n".join(lines)


def _batches(run: Run) -> str:
    """Says how many pairs a step sees, and where they add up, that the learning rate stays as it was given."""
    size, world = run.settings.batch_size, run.state.world
    if world.alone:
        return f"batches of {size}"
    return f"{_processes(world.size)} with batches of {size}: {run.step_pairs} pairs a step at --lr {run.settings.lr:g}"


def _processes(count: int | None) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
