"""Tells two models apart on real pictures: in figures, and in a picture to look at."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from export import data, describe, model_file, proof, sheet, validation
from export.apart import among, levels
from export.errors import OptionError, OutputError
from train.data.pictures import resize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

    from export.data import Picture, Pictures
    from export.metadata import Direction, Figures, Metadata
    from export.proof import Device, Seeds

MOST, PIXELS = 64, 64 * 256 * 256  # pictures, and their pixels in all
FEWEST = 4
SHOWN = 8
OUTPUT = Path("compare.png")
SOFTWARE = "lapis-export --compare"


class Model(NamedTuple):
    """A model, what it made of the pictures, [n, H, W, C], and what it was to make of them where that is known."""

    label: str
    metadata: Metadata
    inputs: Pictures
    made: Pictures
    figures: Figures | None


@dataclass(frozen=True)
class Difference:
    """How far B's picture is from A's: levels of 255, dB (None: infinite), and SSIM (None: too small for it)."""

    picture: str
    largest: float
    mean: float
    psnr: float | None
    ssim: float | None


def compare(
    a: Path,
    b: Path,
    place: Path,
    *,
    device: Device = "cpu",
    direction: Literal["auto", "AtoB", "BtoA"] = "auto",
    output: Path | None = None,
    force: bool = False,
    as_json: bool = False,
) -> str:
    """Returns a table of how far B's pictures are from A's, or the same as JSON, and writes a picture of them.

    DATA at `place` is anything that `export.data` reads; where it holds targets, each model's figures against them are
    told, too. Each model is given the pictures at its own size, channels and bits; B's are brought to A's size to be
    compared. The picture, `output`, takes the place of an earlier one of this kind, and of another file with `force`.
    Raises OptionError where the models' pictures cannot be compared, OutputError where the picture cannot be written.
    """
    output = output or OUTPUT
    _check_output(output, force=force)
    both = [model_file.read(file) for file in (a, b)]
    towards = _direction(both, direction)
    _check_comparable(a, b, *both)
    names, targets, models = _translate([a, b], both, place, towards, device)
    first, second = models
    found = list(_differences(names, first.made, _like(second.made, first.made)))
    overall = _overall(found, first.made, _like(second.made, first.made))
    sheet.write(output, _draw(first, second, found, targets), SOFTWARE)
    return (_as_json if as_json else _as_table)(models, found, overall, output)


def _check_output(output: Path, *, force: bool) -> None:
    if output.suffix.lower() != ".png":
        raise OutputError(f"{output}: the picture is a PNG file; give it a name that ends in .png")
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise OutputError(f"{output}: {'is a folder' if output.is_dir() else 'its folder is not there'}")
    if output.exists() and not force and not sheet.is_made_by(output, SOFTWARE):
        raise OutputError(f"{output} is there already and no picture of --compare; replace it with --force")


def _direction(both: Sequence[Metadata], wanted: Literal["auto", "AtoB", "BtoA"]) -> Direction:
    if wanted != "auto":
        return wanted
    first, second = (metadata.direction for metadata in both)
    if first != second:
        raise OptionError(f"one model was trained {first}, the other {second}: name the inputs' side with --direction")
    return first


def _check_comparable(a: Path, b: Path, first: Metadata, second: Metadata) -> None:
    if first.output.channels != second.output.channels:
        raise OptionError(
            f"the pictures cannot be compared: {a} gives {describe.channels(first.output)}, {b} "
            f"{describe.channels(second.output)}"
        )


def _translate(
    files: list[Path], both: list[Metadata], place: Path, direction: Direction, device: Device
) -> tuple[list[str], Pictures | None, list[Model]]:
    """Returns the pictures' names, the targets as A would give them (None: there are none), and the models."""
    largest = max(metadata.input.height * metadata.input.width for metadata in both)
    most = max(FEWEST, min(MOST, PIXELS // largest))
    paired = data.holds_pairs(place, both[0].input, lab=both[0].lab_colorization)
    names: list[str] = []
    goals: list[Pictures | None] = []
    models = []
    for file, label, metadata in zip(files, _labels(files, both), both, strict=True):
        names, inputs, targets = _read(metadata, place, direction, most, paired=paired)
        translate = proof.translate_with(proof.open_session(file.read_bytes(), device))
        seeds = proof.some_seeds(len(inputs)) if metadata.noise == "seeded" else None
        made = np.concatenate([translate(inputs[i : i + 1], proof.row(seeds, i)) for i in range(len(inputs))])
        goals.append(targets)
        models.append(Model(label, metadata, inputs, made, _figures(made, targets, metadata)))
    return names, goals[0], models


def _read(
    metadata: Metadata, place: Path, direction: Direction, most: int, *, paired: bool
) -> tuple[list[str], Pictures, Pictures | None]:
    given, made = metadata.input, metadata.output
    if paired:
        return data.read_pairs(place, given, made, direction=direction, most=most, lab=metadata.lab_colorization)
    return (*data.read_inputs(place, given, direction=direction, most=most), None)


def _labels(files: list[Path], both: list[Metadata]) -> list[str]:
    """Returns names to tell the models apart by: their own, else those of their files."""
    labels = [f"{metadata.name}/{metadata.version}" for metadata in both]
    return labels if labels[0] != labels[1] else [str(file) for file in files]


def _figures(made: Pictures, targets: Pictures | None, metadata: Metadata) -> Figures | None:
    if targets is None:
        return None
    answers = iter(made)

    def answer(_inputs: Pictures, _seeds: Seeds | None) -> Pictures:
        return np.expand_dims(next(answers), 0)

    return validation.measure(answer, made, targets, metadata.output)


def _like(pictures: Pictures, model: Pictures) -> Pictures:
    """Brings B's pictures to the size and the bits of A's."""
    if pictures.shape == model.shape and pictures.dtype == model.dtype:
        return pictures
    return np.stack([data.as_samples(resize(one, *model.shape[1:3]), model.dtype.name) for one in pictures])


def _differences(names: list[str], a: Pictures, b: Pictures) -> Iterator[Difference]:
    for i, name in enumerate(names):
        apart = among(b[i : i + 1], a[i : i + 1])
        yield Difference(name, apart.largest, round(apart.mean, 4), apart.psnr, _ssim(a[i], b[i]))


def _ssim(a: Picture, b: Picture) -> float | None:
    if min(a.shape[:2]) < validation.WINDOW:
        return None
    # In doubles: in floats, flat pictures near white are not even like themselves.
    first, second = (validation.unit(one[np.newaxis]).double() for one in (a, b))
    return round(float(torch.as_tensor(structural_similarity_index_measure(first, second, data_range=1.0))), 4)


def _overall(found: list[Difference], a: Pictures, b: Pictures) -> Difference:
    apart = among(b, a)
    ssim = [one.ssim for one in found if one.ssim is not None]
    return Difference(
        f"all {len(found)}", apart.largest, round(apart.mean, 4), apart.psnr, float(np.mean(ssim)) if ssim else None
    )


def _order(found: list[Difference]) -> list[int]:
    """Returns the places of the pictures, the worst first."""
    return sorted(range(len(found)), key=lambda i: (-_closeness(found[i]), found[i].largest), reverse=True)


def _closeness(one: Difference) -> float:
    return float("inf") if one.psnr is None else one.psnr


def _draw(a: Model, b: Model, found: list[Difference], targets: Pictures | None) -> Image.Image:
    """Shows the worst picture first, then others spread over the rest."""
    worst = _order(found)[0]
    rest = [i for i in range(len(found)) if i != worst]
    chosen = [worst, *(rest[int(i)] for i in np.linspace(0, len(rest) - 1, min(SHOWN - 1, len(rest))))]
    alike = _like(b.made, a.made)
    differences = [levels(a.made[i], alike[i]) for i in chosen]
    times = _amplified(float(np.percentile(np.stack(differences), 99.5)))
    rows = []
    for i, difference in zip(chosen, differences, strict=True):
        shown = np.clip(difference * times, 0, 255).astype(np.uint8)
        goal = [] if targets is None else [targets[i]]
        words = f"worst of {len(found)}: " * (i == worst) + _caption(found[i])
        rows.append(sheet.Row(words, [a.inputs[i], a.made[i], b.made[i], shown, *goal]))
    columns = ["input", f"A: {a.label}", f"B: {b.label}", f"difference x {times}"]
    return sheet.sheet(columns if targets is None else [*columns, "target"], rows)


def _amplified(usual: float) -> int:
    """Returns the power of two, up to 64, that makes a difference of `usual` levels plain to see."""
    times = 1
    while times < 64 and usual * times * 2 <= 255:
        times *= 2
    return times


def _caption(one: Difference) -> str:
    return f"{one.picture}: at most {one.largest:g} levels, {one.mean:g} on average, PSNR {describe.decibels(one.psnr)}"


def _as_table(models: Sequence[Model], found: list[Difference], overall: Difference, output: Path) -> str:
    width = max(len(one.picture) for one in [*found, overall])
    lines = [(name, _about(model)) for name, model in zip("AB", models, strict=True)]
    head = f"{'picture':{width}}  largest     mean       PSNR    SSIM"
    worst = found[_order(found)[0]]
    told = [("worst", _caption(worst)), ("wrote", str(output))]
    return "\n".join(
        [
            describe.columns(lines),
            "",
            head,
            *(_line(one, width) for one in [*found, overall]),
            "",
            describe.columns(told),
        ]
    )


def _about(model: Model) -> str:
    against = "" if model.figures is None else f"; against the targets: {describe.figures(model.figures)}"
    metadata = model.metadata
    return f"{model.label}, {metadata.precision}, statistics {metadata.statistics}{against}"


def _line(one: Difference, width: int) -> str:
    ssim = "-" if one.ssim is None else f"{one.ssim:.4f}"
    return f"{one.picture:{width}}  {one.largest:7g}  {one.mean:7.4f}  {describe.decibels(one.psnr):>9}  {ssim:>6}"


def _as_json(models: Sequence[Model], found: list[Difference], overall: Difference, output: Path) -> str:
    contents: dict[str, Any] = {
        name: {
            "name": model.metadata.name,
            "version": model.metadata.version,
            "precision": model.metadata.precision,
            "figures": None if model.figures is None else model.figures.model_dump(),
        }
        for name, model in zip("ab", models, strict=True)
    }
    contents["overall"] = {key: value for key, value in asdict(overall).items() if key != "picture"}
    contents["worst"] = found[_order(found)[0]].picture
    contents["pictures"] = [asdict(one) for one in found]
    contents["output"] = str(output)
    return json.dumps(contents, indent=2, ensure_ascii=False)
