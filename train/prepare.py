"""From settings to a run: finds and checks the pairs, builds the networks or restores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from train.checkpoint import find_checkpoint, load_state, read_metrics, read_settings
from train.data.dataset import PairDataset
from train.data.layouts import check_pairs, describe, find_pairs, splits
from train.errors import TrainError
from train.loop import Run
from train.settings import TrainSettings
from train.state import new_state

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
)


def prepare(settings: TrainSettings) -> Run:
    """Finds and checks the pairs, and builds the networks or restores them."""
    checkpoint = find_checkpoint(settings.resume) if settings.resume else None
    if checkpoint:
        settings = _resumed(settings, checkpoint)
    data = settings.data
    if data is None:
        raise TrainError("name the folder of a data set, or --resume a run")
    folder = _run_folder(settings, checkpoint)
    training, held_out = _data_sets(settings, data)
    state = load_state(checkpoint, settings) if checkpoint else new_state(settings)
    _make_writable(folder)  # last, so that nothing is left of a run that cannot start
    return Run(
        settings=settings,
        folder=folder,
        state=state,
        training=training,
        held_out=held_out,
        data=_described(data, settings, training, held_out),
        metrics=read_metrics(checkpoint) if checkpoint else {},
        checkpoint=checkpoint,
    )


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
    if checkpoint is None and any(settings.output.glob("step-*")):
        raise TrainError(f"{settings.output}: holds a run already; --resume it, or name another folder")
    return settings.output


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TrainError(f"{folder}: cannot be written ({error.strerror})") from error


def _data_sets(settings: TrainSettings, data: Path) -> tuple[PairDataset, PairDataset | None]:
    forward = settings.direction == "AtoB"
    channels = (settings.input_nc, settings.output_nc) if forward else (settings.output_nc, settings.input_nc)

    def load(split: str | None, *, augment: bool) -> PairDataset:
        found = find_pairs(data, split)
        pairs = check_pairs(found, *channels, skip_bad=settings.skip_bad, what=str(data / (split or "")))
        return PairDataset(pairs, settings, augment=augment)

    train_split, held_out_split = splits(data)
    return load(train_split, augment=True), load(held_out_split, augment=False) if held_out_split else None


def _described(
    data: Path, settings: TrainSettings, training: PairDataset, held_out: PairDataset | None
) -> dict[str, Any]:
    return describe(data) | {
        "height": settings.crop_size,
        "width": settings.crop_size,
        "input_nc": settings.input_nc,
        "output_nc": settings.output_nc,
        "direction": settings.direction,
        "bits": max(8 * picture.itemsize for picture in training.pictures(0)),
        "train_pairs": len(training),
        "validation_pairs": len(held_out) if held_out else 0,
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
        f"{state.device}, {number_format}, batches of {settings.batch_size}, {run.total_steps:,} steps",
    ]
    if state.step:
        lines.append(f"going on from step {state.step}")
    return "\n".join(lines)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
