"""The model card: a page in Markdown beside the model file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from export.entry import CARD, RESULTS
from export.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

    from export.checkpoint import Checkpoint
    from export.metadata import Figures, Metadata, PictureSpec

GRID = "grid.png"


def write(folder: Path, checkpoint: Checkpoint, metadata: Metadata, *, show_grid: bool) -> None:
    """Writes README.md and, with `show_grid`, results.png where the checkpoint holds a grid of pictures."""
    grid = checkpoint.folder / GRID
    sections = [_head(metadata), _data(metadata), _recipe(checkpoint, metadata), _figures(metadata), _proof(metadata)]
    if show_grid and grid.exists():
        _copy(grid, folder / RESULTS)
        sections.insert(1, f"![Pictures that the model made]({RESULTS})")
    (folder / CARD).write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _copy(grid: Path, target: Path) -> None:
    try:
        content = grid.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{grid}: {error.strerror}") from error
    target.write_bytes(content)


def _head(metadata: Metadata) -> str:
    return (
        f"# {metadata.name}, version {metadata.version}\n\n"
        f"A pix2pix generator in one ONNX file. It takes `image`, {_side(metadata.input)}, and gives `translation`, "
        f"{_side(metadata.output)}; N is free."
    )


def _side(spec: PictureSpec) -> str:
    return f"{spec.dtype} `[N, {spec.height}, {spec.width}, {spec.channels}]` ({spec.colour})"


def _data(metadata: Metadata) -> str:
    data = metadata.data
    return (
        f"## Data\n\n"
        f"[{data.name}]({data.url}): {data.train_pairs:,} pairs to train, {data.validation_pairs:,} held out.\n\n"
        f"Licence: {data.licence}. {data.attribution}"
    )


def _recipe(checkpoint: Checkpoint, metadata: Metadata) -> str:
    config, seconds = checkpoint.config, checkpoint.metrics.training_seconds
    took = "" if seconds is None else f" in {_duration(seconds)}"
    averaged = "averaged (EMA)" if metadata.weights == "ema" else "last"
    settings = json.dumps(config.training.model_dump(exclude=_PLACES), indent=2, default=str)
    return (
        f"## Recipe\n\n"
        f"{_architecture(metadata)}, trained for {config.step:,} steps ({config.epoch:,} epochs) at batch size "
        f"{config.training.batch_size}{took}; the {averaged} weights, stored as {metadata.precision}. "
        f"Statistics: {_STATISTICS[metadata.statistics]}. Dropout is off.\n\n"
        f"<details><summary>All settings of the training</summary>\n\n```json\n{settings}\n```\n\n</details>"
    )


_PLACES = {"data", "output"}  # folders of the machine that trained

_STATISTICS = {
    "image": "each picture's own",
    "running": "those gathered in training, folded into the convolutions",
    "none": "none, the network has no norm",
}


def _architecture(metadata: Metadata) -> str:
    generator = metadata.generator
    return f"{generator['netG']}, ngf {generator['ngf']}, {generator['norm']} norm"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} seconds"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _figures(metadata: Metadata) -> str:
    if metadata.validation is None:
        return "## Figures\n\nThe training measured none for these weights and statistics."
    rows = [_row("this model", metadata.validation)]
    if metadata.baseline is not None:
        rows.append(_row("the input itself, taken as the answer", metadata.baseline))
    table = "\n".join(["| held-out pairs | L1 (0 to 1) | PSNR | SSIM |", "|---|---|---|---|", *rows])
    return f"## Figures\n\nOver {metadata.validation.pairs:,} pairs that the training never saw:\n\n{table}"


def _row(name: str, figures: Figures) -> str:
    psnr = "infinite" if figures.psnr is None else f"{figures.psnr:.2f} dB"
    return f"| {name} | {figures.l1:.4f} | {psnr} | {figures.ssim:.3f} |"


def _proof(metadata: Metadata) -> str:
    parity, rows = metadata.parity, metadata.batch_invariance
    return (
        f"## Proof\n\n"
        f"Against PyTorch on {parity.pictures} real pictures: at most {parity.max_difference} of 255 levels apart, "
        f"{parity.mean_difference:g} on average ({parity.provider}). A picture's translation is the same, "
        f"bit for bit on the CPU, alone and in batches of {', '.join(map(str, rows.batch_sizes))}.\n\n"
        f"Checkpoint: step {metadata.source.step:,}, SHA-256 of its weights `{metadata.source.checkpoint_sha256}`. "
        f"Written by lapis {metadata.lapis_version}."
    )
