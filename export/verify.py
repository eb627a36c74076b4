"""Proves a model file again, wherever it is: the way to see that another machine or provider gives the same pictures.

The file alone is at hand, not the network that it was made from. What it gives here is held against what it says about
itself, against the CPU of this machine, and against itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import onnx
import onnxruntime  # type: ignore[import-untyped]
from tqdm import tqdm

from export import behaviour, data, describe, fingerprint, graph, proof, validation
from export.errors import ExportError, NotVerified
from export.subject import FEWEST, Subject, one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from export.apart import Apart
    from export.proof import Device, Translate

ROWS = 8  # pictures that go through all the batch sizes
MOST_PAIRS = 1000
# What a server allows beyond the fingerprint's own bound on a GPU, where products are rounded otherwise.
GPU_SLACK = 8


@dataclass(frozen=True)
class Finding:
    """What became of a check: `held` is None where there was nothing to decide."""

    check: str
    held: bool | None
    told: str
    figures: dict[str, Any]


Check = tuple[bool | None, str, dict[str, Any]]  # whether it held, in words, in figures


def verify(
    model: Path,
    place: Path,
    *,
    device: Device = "cpu",
    direction: Literal["auto", "AtoB", "BtoA"] = "auto",
    max_difference: float | None = None,
    as_json: bool = False,
) -> str:
    """Returns a table of checks, a line each, or the same as JSON.

    DATA at `place` is anything that `export.data` reads. `max_difference` replaces the largest difference from the CPU,
    in levels of 255, that the model's precision may have. Raises NotVerified, which carries the table, where a check
    does not hold; ModelFileError where the file is no model of ours; PicturesError and OptionError where DATA or the
    device are not there.
    """
    subject = Subject.of(model, place, device, direction, max_difference)
    findings = list(_run(subject))
    failed = [f"{finding.check}: {finding.told}" for finding in findings if finding.held is False]
    report = _as_json(subject, findings) if as_json else _as_table(subject, findings)
    if failed:
        raise NotVerified(f"{model} does not hold on {device}: {'; '.join(failed)}", report)
    return report


def _run(subject: Subject) -> Iterator[Finding]:
    """Yields a finding for each check; those after the contract are left out where that does not hold."""
    subject.session  # noqa: B018 (a device that is not there is told before anything is checked)
    for name, check in tqdm(list(_checks(subject)), desc="verifying", unit="check", disable=None, leave=False):
        try:
            held, told, figures = check(subject)
        except ExportError as error:
            held, told, figures = False, str(error), {}
        yield Finding(name, held, told, figures)
        if held is False and name in ("file", "contract"):
            return


def _checks(subject: Subject) -> Iterator[tuple[str, Callable[[Subject], Check]]]:
    yield "file", _file
    yield "contract", _contract
    yield "fingerprint", _fingerprint
    yield "threads", _threads
    if not subject.exact:
        yield subject.device, _device
    yield "batches", _batches
    yield "repeats", _repeats
    if subject.seeded:
        yield "seeds", _seeds
    if subject.metadata.input.any_size:
        yield "sizes", _sizes
    yield "figures", _figures


def _file(subject: Subject) -> Check:
    model = onnx.load_from_string(subject.stored)
    graph.check(model)
    opset, sha256 = model.opset_import[0].version, hashlib.sha256(subject.stored).hexdigest()
    told = f"{len(subject.stored) / 1e6:.1f} MB, opset {opset}, sound by ONNX's checker, SHA-256 {sha256}"
    return True, told, {"bytes": len(subject.stored), "opset": opset, "sha256": sha256}


def _contract(subject: Subject) -> Check:
    given, made = subject.metadata.input, subject.metadata.output
    proof.prove_contract(subject.session, given, made, seeded=subject.seeded)
    seed = ", seed int64 [N]" if subject.seeded else ""
    return True, f"image {describe.tensor(given)}{seed} → translation {describe.tensor(made)}", {}


def _fingerprint(subject: Subject) -> Check:
    kept = subject.metadata.fingerprint
    if kept is None:
        return None, "the file has none", {}
    sides = subject.metadata.input, subject.metadata.output
    apart = fingerprint.differ(subject.translate, kept, *sides, seeded=subject.seeded)
    accepted = kept.max_difference if subject.exact else kept.max_difference * GPU_SLACK
    held = apart.largest <= accepted and (subject.exact or apart.mean <= kept.max_difference / 2)
    told = f"{apart.largest:g} levels from what export saw; {accepted:g} are accepted"
    return held, told, {"max_difference": apart.largest, "mean_difference": apart.mean, "accepted": accepted}


def _threads(subject: Subject) -> Check:
    return _against_cpu(subject, subject.all_threads, "all cores of the CPU from one thread of it")


def _device(subject: Subject) -> Check:
    return _against_cpu(subject, subject.translate, f"{subject.session.get_providers()[0]} from the CPU")


def _against_cpu(subject: Subject, translate: Translate, what: str) -> Check:
    seeds = subject.seeds(len(subject.pictures))
    apart = proof.compare_rows(translate, subject.pictures, subject.on_cpu, seeds, "the CPU")
    return (
        proof.within(apart, subject.bounds),
        f"{_told(apart)}: {what}; {subject.bounds.largest:g} are accepted",
        _as_figures(apart),
    )


def _told(apart: Apart) -> str:
    return (
        f"at most {apart.largest:g} of 255 levels, {apart.mean:.4f} on average, PSNR {describe.decibels(apart.psnr)}, "
        f"over {apart.pictures} pictures"
    )


def _as_figures(apart: Apart) -> dict[str, Any]:
    return {
        "pictures": apart.pictures,
        "max_difference": apart.largest,
        "mean_difference": round(apart.mean, 6),
        "psnr": apart.psnr,
    }


def _batches(subject: Subject) -> Check:
    some, seeds = subject.pictures[:ROWS], subject.seeds(min(ROWS, len(subject.pictures)))
    places = [subject.one_thread, subject.all_threads] if subject.exact else [subject.translate]
    found = [proof.prove_rows(translate, some, seeds, accepted=subject.accepted) for translate in places]
    worst = max(found, key=lambda rows: rows.max_difference)
    threads = ", with one thread and with all" if subject.exact else ""
    return True, f"{describe.rows(worst)}{threads}", {"max_difference": worst.max_difference}


def _repeats(subject: Subject) -> Check:
    few = subject.pictures[:FEWEST]
    largest = behaviour.prove_repeats(subject.translate, few, subject.seeds(len(few)), subject.accepted)
    return True, f"{largest:g} levels from run to run", {"max_difference": largest}


def _seeds(subject: Subject) -> Check:
    mean = behaviour.prove_seeds(subject.translate, subject.pictures[0], subject.accepted)
    told = f"the same seed gives the same picture; different ones differ by {mean:.2f} levels on average"
    return True, told, {"mean_difference_between_seeds": mean}


def _sizes(subject: Subject) -> Check:
    """Holds the device against one thread of the CPU at sizes that the model was not made for."""
    sizes, worst = behaviour.sizes_to_prove(subject.metadata.input)[1:], 0.0
    for height, width in sizes:
        few = behaviour.few_at_size(subject.pictures, height, width)
        seeds = subject.seeds(len(few))
        expected = one_by_one(subject.one_thread, few, seeds)
        apart = proof.compare_rows(subject.translate, few, expected, seeds, "the CPU")
        proof.check_bounds(apart, subject.bounds, f"one thread of the CPU at {height} x {width} pixels")
        proof.prove_rows(subject.translate, few, seeds, (len(few),), subject.accepted)
        worst = max(worst, apart.largest)
    told = ", ".join(f"{height} x {width}" for height, width in sizes)
    return True, f"at most {worst:g} of 255 levels from one thread of the CPU at {told}", {"max_difference": worst}


def _figures(subject: Subject) -> Check:
    metadata = subject.metadata
    if not data.holds_pairs(subject.place, metadata.input, lab=metadata.lab_colorization):
        return None, "the data has no targets to measure them on", {}
    inputs, targets = data.load_pairs(
        subject.place,
        metadata.input,
        metadata.output,
        direction=subject.direction,
        most=MOST_PAIRS,
        lab=metadata.lab_colorization,
    )
    found = validation.measure(subject.translate, inputs, targets, metadata.output, subject.seeds(len(inputs)))
    told = f"{describe.figures(found)}; at export: {describe.figures(metadata.validation)}"
    at_export = None if metadata.validation is None else metadata.validation.model_dump()
    return None, told, {"here": found.model_dump(), "at_export": at_export}


_VERDICTS = {True: "holds", False: "FAILS", None: "-"}


def _as_table(subject: Subject, findings: list[Finding]) -> str:
    head = ("model", f"{subject.metadata.name}, version {subject.metadata.version}, on {_where(subject)}")
    lines = [(finding.check, f"{_VERDICTS[finding.held]:5}  {finding.told}") for finding in findings]
    return describe.columns([head, *lines])


def _as_json(subject: Subject, findings: list[Finding]) -> str:
    checks = {one.check: {"held": one.held, "told": one.told, **one.figures} for one in findings}
    contents = {
        "model": subject.metadata.name,
        "version": subject.metadata.version,
        "provider": subject.session.get_providers()[0],
        "onnxruntime": onnxruntime.__version__,
        "pictures": len(subject.pictures),
        "holds": all(one.held is not False for one in findings),
        "checks": checks,
    }
    return json.dumps(contents, indent=2, ensure_ascii=False)


def _where(subject: Subject) -> str:
    return f"{subject.session.get_providers()[0]}, ONNX Runtime {onnxruntime.__version__}"
