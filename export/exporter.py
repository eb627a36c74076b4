"""The export from end to end: read, freeze, trace, store, prove, write."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from export import (
    card,
    checkpoint,
    describe,
    entry,
    fingerprint,
    graph,
    model_file,
    pictures,
    precision,
    proof,
    statistics,
)
from export.metadata import Data, Metadata, PictureSpec, Source
from export.translator import Translator

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from export.checkpoint import Checkpoint
    from export.metadata import BatchInvariance, Fingerprint, Parity
    from export.settings import ExportSettings
    from export.statistics import Choice

ROWS = 8  # pictures that go through all the batch sizes


@dataclass(frozen=True)
class Plan:
    """What is exported, and how: `given` and `made` are the two sides of the graph."""

    settings: ExportSettings
    source: Checkpoint
    choice: Choice
    given: PictureSpec
    made: PictureSpec

    @property
    def as_validated(self) -> bool:
        """Whether this is the very model whose figures and pictures the training measured and drew."""
        source = self.source
        usual = statistics.choose("auto", source.architecture.norm, source.config.training.batch_size)
        return source.weights == source.best_weights and self.choice.statistics == usual.statistics


class Proof(NamedTuple):
    """What was found of the model; `fingerprint` is taken on the CPU, wherever parity was."""

    parity: Parity
    rows: BatchInvariance
    fingerprint: Fingerprint


def export(settings: ExportSettings, folder: Path) -> None:
    """Writes the model repository entry that the settings name from the checkpoint `folder`, telling what it does.

    Raises an ExportError, and leaves nothing behind, where anything does not hold.
    """
    started = time.monotonic()
    plan = _plan(settings, folder)
    real = pictures.load(settings.pictures or plan.source.folder / "examples", plan.given)
    file = settings.entry.folder / entry.MODEL
    with entry.staged(settings.entry.folder, force=settings.force) as staging:
        model = _trace(plan)
        description = _describe(plan, _prove(plan, model, real))
        model_file.attach(model, description)
        (staging / entry.MODEL).write_bytes(model.SerializeToString())
        card.write(staging, plan.source, description, show_grid=plan.as_validated)
    # The path as it was given: what is printed is read by the person who typed it.
    _tell(
        "wrote",
        f"{settings.output}/{entry.MODEL}, {file.stat().st_size / 1e6:.1f} MB, in {time.monotonic() - started:.0f} s",
    )


def _plan(settings: ExportSettings, folder: Path) -> Plan:
    source = checkpoint.load(folder, settings.weights)
    data, architecture = source.config.data, source.architecture
    choice = statistics.choose(settings.statistics, architecture.norm, source.config.training.batch_size)
    given = PictureSpec.of(data.height, data.width, architecture.input_nc)
    made = PictureSpec.of(data.height, data.width, architecture.output_nc)
    _tell("checkpoint", f"{folder}, step {source.config.step:,}, {_WEIGHTS[source.weights]} weights")
    _tell("generator", f"{architecture.netG}, ngf {architecture.ngf}, {architecture.norm} norm")
    _tell("graph", f"{_side(given)} → {_side(made)}, stored as {settings.precision}")
    _tell("statistics", f"{choice.statistics} ({choice.reason})")
    plan = Plan(settings, source, choice, given, made)
    if not plan.as_validated:
        _tell("figures", "left out: the training validated other weights or statistics")
    return plan


def _trace(plan: Plan) -> onnx.ModelProto:
    translator = Translator(statistics.freeze(plan.source.generator, plan.choice.statistics))
    return precision.store(graph.to_onnx(translator, plan.given), plan.settings.precision)


def _prove(plan: Plan, model: onnx.ModelProto, real: NDArray[np.uint8]) -> Proof:
    graph.check(model)
    stored = model.SerializeToString()
    session = proof.open_session(stored, plan.settings.device)
    proof.prove_contract(session, plan.given, plan.made)
    expected = proof.references(statistics.as_reference(plan.source.generator, plan.choice.statistics), real)
    bounds = precision.bounds(plan.settings.precision, plan.settings.max_difference)
    parity = proof.prove_values(session, real, expected, bounds)
    _tell("parity", describe.parity(parity))
    # A server may give a picture one thread or all; the arithmetic is split differently, so both are proven.
    for threads in (1, proof.ALL_CORES):
        translate = proof.translate_with(proof.open_session(stored, threads=threads))
        rows = proof.prove_rows(translate, real[:ROWS])
    _tell("batches", describe.rows(rows))
    return Proof(parity, rows, fingerprint.take(translate, real[0], parity))


def _describe(plan: Plan, proven: Proof) -> Metadata:
    source = plan.source
    return Metadata(
        name=plan.settings.entry.name,
        version=plan.settings.entry.version,
        input=plan.given,
        output=plan.made,
        statistics=plan.choice.statistics,
        precision=plan.settings.precision,
        weights=source.weights,
        generator=asdict(source.architecture),
        source=Source(checkpoint_sha256=source.sha256, step=source.config.step),
        data=Data.model_validate(source.config.data.model_dump()),
        validation=source.metrics.validation if plan.as_validated else None,
        baseline=source.metrics.baseline,
        parity=proven.parity,
        batch_invariance=proven.rows,
        fingerprint=proven.fingerprint,
        lapis_version=version("lapis"),
    )


_WEIGHTS = {"ema": "averaged (EMA)", "generator": "last"}


def _side(spec: PictureSpec) -> str:
    return f"{spec.dtype} [N, {spec.height}, {spec.width}, {spec.channels}]"


def _tell(what: str, words: str) -> None:
    print(f"{what:10}  {words}", flush=True)
