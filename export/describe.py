"""Prints what a model file says about itself."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from export.model_file import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from export.metadata import (
        BatchInvariance,
        Data,
        Figures,
        Fingerprint,
        Graph,
        Metadata,
        Parity,
        PictureSpec,
        StatisticsChoice,
    )

UNKNOWN = "not stated"


def describe(path: Path, *, as_json: bool) -> str:
    """Returns the metadata of a model file as a table of two columns, or as JSON; pictures in it by their sizes."""
    metadata = read(path)
    return _json(metadata) if as_json else columns(list(_table(metadata)))


def columns(table: list[tuple[str, str]]) -> str:
    """Returns lines of a name and what there is to tell of it, the latter one below the other."""
    width = max(len(name) for name, _ in table)
    return "\n".join(f"{name:{width}}  {value}" for name, value in table)


def parity(figures: Parity) -> str:
    """Tells in a phrase how far the model is from PyTorch."""
    return (
        f"at most {figures.max_difference:g} of 255 levels from PyTorch, {figures.mean_difference:g} on average"
        f", PSNR {psnr(figures)}, over {figures.pictures} pictures "
        f"({figures.provider})"
    )


def rows(figures: BatchInvariance) -> str:
    """Tells in a phrase how much a batch changes a picture's translation."""
    return f"{figures.max_difference:g} levels between batches of {', '.join(map(str, figures.batch_sizes))}"


def figures(found: Figures | None) -> str:
    """Tells in a phrase how good pictures are on held-out pairs."""
    if found is None:
        return "not measured"
    return f"L1 {found.l1:.4f}, PSNR {decibels(found.psnr)}, SSIM {found.ssim:.3f} over {found.pairs} held-out pairs"


def decibels(psnr: float | None) -> str:
    """Tells a PSNR, which is None where the pictures are equal."""
    return "infinite" if psnr is None else f"{psnr:.2f} dB"


def psnr(found: Parity) -> str:
    """Tells the PSNR of a proof, which is infinite where nothing differs; files of earlier versions have none."""
    return UNKNOWN if found.psnr is None and found.max_difference else decibels(found.psnr)


def sizes(spec: PictureSpec) -> str:
    """Tells in a phrase which heights and widths, in pixels, a side of the graph has."""
    if not spec.any_size:
        return f"{spec.height} x {spec.width} only"
    return f"any multiples of {spec.multiple} from {spec.smallest}; made for {spec.height} x {spec.width}"


def channels(spec: PictureSpec) -> str:
    """Tells in a phrase what a pixel is made of."""
    count = "1 channel" if spec.channels == 1 else f"{spec.channels} channels"
    return f"{count}{'' if spec.colour == 'channels' else f' ({spec.colour})'}"


def tensor(spec: PictureSpec) -> str:
    """Returns the type and shape of a side of the graph; letters stand for what is free."""
    height, width = ("H", "W") if spec.any_size else (spec.height, spec.width)
    return f"{spec.dtype} [N, {height}, {width}, {spec.channels}]"


def _json(metadata: Metadata) -> str:
    contents = metadata.model_dump(mode="json")
    if fingerprint := contents["fingerprint"]:
        fingerprint |= {name: f"PNG, {_size(fingerprint[name])}" for name in ("input", "translation")}
    return json.dumps(contents, indent=2, ensure_ascii=False)


def _table(metadata: Metadata) -> Iterator[tuple[str, str]]:
    step = "" if metadata.source.step is None else f"step {metadata.source.step}, "
    yield "model", f"{metadata.name}, version {metadata.version}"
    yield "input", _side(metadata.input)
    yield "output", _side(metadata.output)
    yield "samples", _samples(metadata)
    yield "direction", metadata.direction
    yield "generator", ", ".join(f"{name} {value}" for name, value in metadata.generator.items())
    yield "weights", f"{metadata.weights}, {metadata.precision}"
    yield "graph", _graph(metadata.graph)
    yield "statistics", metadata.statistics + _reason(metadata.statistics_choice)
    yield from _both(metadata.statistics_choice)
    yield "noise", _NOISE[metadata.noise]
    yield "checkpoint", f"{metadata.source.origin}, {step}SHA-256 {metadata.source.checkpoint_sha256}"
    yield from _data(metadata.data)
    yield "validation", figures(metadata.validation)
    yield "baseline", figures(metadata.baseline)
    yield "parity", parity(metadata.parity)
    yield "batches", rows(metadata.batch_invariance)
    yield "fingerprint", _fingerprint(metadata.fingerprint)
    yield "written by", f"lapis {metadata.lapis_version}"


_NOISE = {
    "off": "off: the same picture always gives the same translation",
    "seeded": "seeded: the same picture and seed (int64, one for each picture) always give the same translation",
}


def _side(spec: PictureSpec) -> str:
    return f"{sizes(spec)} (height x width in pixels), {channels(spec)}, {spec.dtype}"


def _samples(metadata: Metadata) -> str:
    scaled = "0 to 1" if metadata.scaling == "unit" else "-1 to 1"
    lab = "; takes L and gives a and b, converted from and to RGB in the graph" if metadata.lab_colorization else ""
    return f"scaled to {scaled} in the graph{lab}"


def _graph(graph: Graph | None) -> str:
    if graph is None:
        return UNKNOWN
    return f"opset {graph.opset}, made for {graph.optimized_for}, decoder {graph.decoder}"


def _reason(choice: StatisticsChoice | None) -> str:
    return "" if choice is None else f" ({choice.reason})"


def _both(choice: StatisticsChoice | None) -> Iterator[tuple[str, str]]:
    """Yields the figures that decided between the statistics, where they were measured."""
    for name in ("image", "running"):
        if choice is not None and (found := getattr(choice, name)) is not None:
            yield f"  {name}", figures(found)


def _data(data: Data) -> Iterator[tuple[str, str]]:
    pairs = "" if data.train_pairs is None else f"{data.train_pairs} pairs"
    yield "data", ", ".join(filter(None, (data.name, pairs, data.url))) or UNKNOWN
    named = f" ({data.attribution})" if data.attribution else ""
    yield "licence", f"{data.licence or UNKNOWN}{named}"


def _fingerprint(fingerprint: Fingerprint | None) -> str:
    if fingerprint is None:
        return "none"
    thinned = "" if fingerprint.every == 1 else f", one of {fingerprint.every} rows and columns"
    return (
        f"a picture ({_size(fingerprint.input)}) and its translation ({_size(fingerprint.translation)}){thinned}; "
        f"accepted on a CPU: {fingerprint.max_difference:g} of 255 levels off"
    )


def _size(encoded: str) -> str:
    return f"{len(base64.b64decode(encoded)):,} bytes"
