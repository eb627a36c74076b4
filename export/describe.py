"""Prints what a model file says about itself."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from export.model_file import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from export.metadata import BatchInvariance, Figures, Fingerprint, Metadata, Parity, PictureSpec


def describe(path: Path, *, as_json: bool) -> str:
    """Returns the metadata of a model file as a table of two columns, or as JSON; pictures in it by their sizes."""
    metadata = read(path)
    if as_json:
        return _json(metadata)
    table = list(_table(metadata))
    width = max(len(name) for name, _ in table)
    return "\n".join(f"{name:{width}}  {value}" for name, value in table)


def parity(figures: Parity) -> str:
    """Tells in a phrase how far the model is from PyTorch."""
    return (
        f"at most {figures.max_difference} of 255 levels from PyTorch, {figures.mean_difference:g} on average, "
        f"over {figures.pictures} pictures ({figures.provider})"
    )


def rows(figures: BatchInvariance) -> str:
    """Tells in a phrase how much a batch changes a picture's translation."""
    return f"{figures.max_difference} levels between batches of {', '.join(map(str, figures.batch_sizes))}"


def _json(metadata: Metadata) -> str:
    contents = metadata.model_dump(mode="json")
    if fingerprint := contents["fingerprint"]:
        fingerprint |= {name: f"PNG, {_size(fingerprint[name])}" for name in ("input", "translation")}
    return json.dumps(contents, indent=2, ensure_ascii=False)


def _table(metadata: Metadata) -> Iterator[tuple[str, str]]:
    generator = metadata.generator
    yield "model", f"{metadata.name}, version {metadata.version}"
    yield "input", _side(metadata.input)
    yield "output", _side(metadata.output)
    yield "generator", ", ".join(f"{name} {value}" for name, value in generator.items())
    yield "weights", f"{metadata.weights}, {metadata.precision}"
    yield "statistics", metadata.statistics
    yield "noise", metadata.noise
    yield "checkpoint", f"step {metadata.source.step}, SHA-256 {metadata.source.checkpoint_sha256}"
    yield "data", f"{metadata.data.name}, {metadata.data.train_pairs} pairs, {metadata.data.url}"
    yield "licence", f"{metadata.data.licence} ({metadata.data.attribution})"
    yield "validation", _figures(metadata.validation)
    yield "baseline", _figures(metadata.baseline)
    yield "parity", parity(metadata.parity)
    yield "batches", rows(metadata.batch_invariance)
    yield "fingerprint", _fingerprint(metadata.fingerprint)
    yield "written by", f"lapis {metadata.lapis_version}"


def _side(spec: PictureSpec) -> str:
    return (
        f"{spec.height} x {spec.width} pixels (height x width), {spec.channels} channels ({spec.colour}), {spec.dtype}"
    )


def _fingerprint(fingerprint: Fingerprint | None) -> str:
    if fingerprint is None:
        return "none"
    thinned = "" if fingerprint.every == 1 else f", one of {fingerprint.every} rows and columns"
    return (
        f"a picture ({_size(fingerprint.input)}) and its translation ({_size(fingerprint.translation)}){thinned}; "
        f"accepted on a CPU: {fingerprint.max_difference} of 255 levels off"
    )


def _size(encoded: str) -> str:
    return f"{len(base64.b64decode(encoded)):,} bytes"


def _figures(figures: Figures | None) -> str:
    if figures is None:
        return "not measured"
    psnr = "infinite" if figures.psnr is None else f"{figures.psnr:.2f} dB"
    return f"L1 {figures.l1:.4f}, PSNR {psnr}, SSIM {figures.ssim:.3f} over {figures.pairs} held-out pairs"
