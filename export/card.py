"""The model card: a page in Markdown beside the model file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from export import describe, sheet
from export.entry import CARD, RESULTS
from export.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PIL import Image

    from export.data import Pictures
    from export.metadata import Data, Figures, Metadata, PictureSpec
    from export.sources.source import Source

SOFTWARE = "lapis-export"
SHOWN = 8
_PLACES = {"data", "output"}  # folders of the machine that trained


def write(
    folder: Path,
    source: Source,
    metadata: Metadata,
    *,
    show_grid: bool = False,
    grid: Image.Image | None = None,
) -> None:
    """Writes README.md and results.png: the source's own grid of pictures with `show_grid`, else the one made here.

    Raises CheckpointError where the source's grid cannot be read.
    """
    sections = [_head(metadata), _data(metadata.data), _recipe(source, metadata), _figures(metadata), _proof(metadata)]
    if show_grid and source.grid is not None:
        _copy(source.grid, folder / RESULTS)
        sections.insert(1, f"![Pictures that the model made: input, output, target]({RESULTS})")
    elif grid is not None:
        sheet.write(folder / RESULTS, grid, SOFTWARE)
        sections.insert(1, f"![Pictures that the model made: input, output]({RESULTS})")
    (folder / CARD).write_text("\n\n".join(filter(None, sections)) + "\n", encoding="utf-8")


def draw(inputs: Pictures, outputs: Pictures) -> Image.Image:
    """Returns up to 8 inputs and what the model made of them, [n, H, W, C] each, two to a row."""
    both = list(zip(inputs[:SHOWN], outputs[:SHOWN], strict=True))
    if len(both) == 1:
        return sheet.sheet(("input", "output"), [sheet.Row("", both[0])])
    rows = [sheet.Row("", [*left, *right]) for left, right in zip(both[0::2], both[1::2], strict=False)]
    return sheet.sheet(("input", "output") * 2, rows)


def _copy(grid: Path, target: Path) -> None:
    try:
        content = grid.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{grid}: {error.strerror}") from error
    target.write_bytes(content)


def _head(metadata: Metadata) -> str:
    given = _side(metadata.input) + (", and `seed`, int64 `[N]`," if metadata.noise == "seeded" else "")
    free = "N, H and W are free" if metadata.input.any_size else "N is free"
    return (
        f"# {metadata.name}, version {metadata.version}\n\n"
        f"A pix2pix generator in one ONNX file. It takes `image`, {given} and gives `translation`, "
        f"{_side(metadata.output)}; {free}.\n\n"
        f"{_takes(metadata)}"
    )


def _side(spec: PictureSpec) -> str:
    dtype, shape = describe.tensor(spec).split(maxsplit=1)
    return f"{dtype} `{shape}` ({spec.colour})"


def _takes(metadata: Metadata) -> str:
    """Tells what a caller has to know: sizes, colours, and what the seed is for."""
    told = [f"Sizes (height x width in pixels): {describe.sizes(metadata.input)}."]
    if metadata.lab_colorization:
        told.append("It colours pictures: it takes RGB, looks at the lightness alone, and gives RGB.")
    if metadata.noise == "seeded":
        told.append(
            "It was exported with its noise, the dropout of its training: each `seed` chooses one of many translations "
            "of a picture, and the same seed always gives the same one. With `lapis-translate` that is `--seed`."
        )
    return " ".join(told)


def _data(data: Data) -> str:
    return f"## Data\n\n{_named(data)}\n\n{_licence(data)}"


def _named(data: Data) -> str:
    if not data.name and not data.url:
        return (
            "The checkpoint does not say what it was trained on. Who exports it may: `--dataset NAME --url URL "
            "--licence LICENCE --attribution WHO`."
        )
    name = data.name or data.url
    linked = f"[{name}]({data.url})" if data.url else name
    counts = [
        f"{count:,} {what}"
        for count, what in ((data.train_pairs, "pairs to train"), (data.validation_pairs, "held out"))
        if count is not None
    ]
    return f"{linked}{': ' if counts else ''}{', '.join(counts)}."


def _licence(data: Data) -> str:
    if not data.licence:
        said = "Licence: unknown. Without one, neither the pictures nor the model may be passed on."
        return f"{said} {data.attribution}".rstrip()
    return f"Licence: {data.licence}. {data.attribution}".rstrip()


def _recipe(source: Source, metadata: Metadata) -> str:
    told = [
        f"Generator: {source.recognised.rstrip('.')}. {_trained(source, metadata)}",
        f"Statistics: {_STATISTICS[metadata.statistics]}{_reason(metadata)}. {_NOISE[metadata.noise]}",
        _graph(metadata),
        _statistics_table(metadata),
        _settings(source),
    ]
    return "## Recipe\n\n" + "\n\n".join(filter(None, told))


_STATISTICS = {
    "image": "each picture's own",
    "running": "those gathered in training, folded into the convolutions",
    "none": "none, the network has no norm",
}
_NOISE = {"off": "Dropout is off.", "seeded": "Dropout is on and drawn from the seed."}


def _trained(source: Source, metadata: Metadata) -> str:
    """Tells how it was trained, as far as the source knows."""
    parts = [
        "" if source.step is None else f"for {source.step:,} steps",
        "" if source.epoch is None else f"({source.epoch:,} epochs)",
        "" if source.batch_size is None else f"at batch size {source.batch_size}",
        "" if source.training_seconds is None else f"in {_duration(source.training_seconds)}",
    ]
    known = " ".join(filter(None, parts))
    averaged = "The averaged (EMA) weights" if metadata.weights == "ema" else "The last weights"
    trained = f"Trained {known}. " if known else "How it was trained is unknown. "
    return f"{trained}{averaged}, exported as {metadata.precision}."


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} seconds"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _reason(metadata: Metadata) -> str:
    return "" if metadata.statistics_choice is None else f" ({metadata.statistics_choice.reason})"


def _graph(metadata: Metadata) -> str:
    graph = metadata.graph
    if graph is None:
        return ""
    return f"Graph: opset {graph.opset}, forms chosen for {graph.optimized_for}, decoder {graph.decoder}."


def _statistics_table(metadata: Metadata) -> str:
    choice = metadata.statistics_choice
    if choice is None or choice.image is None or choice.running is None:
        return ""
    return _table([("each picture's statistics", choice.image), ("running statistics", choice.running)])


def _settings(source: Source) -> str:
    kept = {name: value for name, value in source.training.items() if name not in _PLACES}
    if not kept:
        return ""
    listed = json.dumps(kept, indent=2, default=str)
    return f"<details><summary>All settings of the training</summary>\n\n```json\n{listed}\n```\n\n</details>"


def _figures(metadata: Metadata) -> str:
    if metadata.validation is None:
        return (
            "## Figures\n\nNone were measured for these weights and statistics; `lapis-export … --validate DATA` "
            "measures them on held-out pairs."
        )
    rows = [("this model", metadata.validation)]
    if metadata.baseline is not None:
        rows.append(("the input itself, taken as the answer", metadata.baseline))
    pairs = f"{metadata.validation.pairs:,} pairs that the training never saw"
    return f"## Figures\n\nOver {pairs}:\n\n{_table(rows)}"


def _table(rows: list[tuple[str, Figures]]) -> str:
    head = ["| held-out pairs | L1 (0 to 1) | PSNR | SSIM |", "|---|---|---|---|"]
    cells = [f"| {name} | {it.l1:.4f} | {describe.decibels(it.psnr)} | {it.ssim:.3f} |" for name, it in rows]
    return "\n".join([*head, *cells])


def _proof(metadata: Metadata) -> str:
    return "## Proof\n\n" + "\n\n".join(_proven(metadata))


def _proven(metadata: Metadata) -> Iterator[str]:
    found, rows = metadata.parity, metadata.batch_invariance
    yield (
        "| precision | pictures | largest difference from PyTorch | mean | PSNR | by |\n|---|---|---|---|---|---|\n"
        f"| {metadata.precision} | {found.pictures} | {found.max_difference:g} of 255 levels | "
        f"{found.mean_difference:g} | {describe.psnr(found)} | {found.provider} |"
    )
    yield (
        "A picture's translation is the same, bit for bit on the CPU, alone and in batches of "
        f"{', '.join(map(str, rows.batch_sizes))}. `lapis-export --verify model.onnx PICTURES` proves it again, on any "
        "machine."
    )
    step = "" if metadata.source.step is None else f"step {metadata.source.step:,}, "
    yield (
        f"Checkpoint ({metadata.source.origin}): {step}SHA-256 of its weights `{metadata.source.checkpoint_sha256}`. "
        f"Written by lapis {metadata.lapis_version}."
    )
