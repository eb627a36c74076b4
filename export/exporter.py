"""The export from end to end: read, plan, freeze, trace, store, prove, write."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export import (
    behaviour,
    card,
    data,
    describe,
    entry,
    fingerprint,
    graph,
    judging,
    model_file,
    optimize,
    precision,
    proof,
)
from export import statistics as statistics_of
from export.errors import OptionError, PicturesError
from export.metadata import Data, Graph, Metadata, Source, StatisticsChoice
from export.plan import settle
from export.sources import loading
from export.sources.source import Wishes

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from export.judging import Judged, Pairs
    from export.metadata import BatchInvariance, Fingerprint, Parity, PictureSpec, Statistics
    from export.plan import Plan
    from export.proof import Pictures, Translate
    from export.settings import ExportSettings

ROWS = 8  # pictures that go through all the batch sizes
CALIBRATION = 128  # pictures to measure int8's ranges on
_MOST, _PIXELS = 32, 32 * 256 * 256  # pictures of a proof, and their pixels in all: it takes seconds, not minutes
_FEWEST = 2


class Proof(NamedTuple):
    """What was found of the model; `fingerprint` was taken with `translate`, on the CPU, wherever parity was.

    `shown` are some of its translations, to look at.
    """

    parity: Parity
    rows: BatchInvariance
    fingerprint: Fingerprint
    translate: Translate
    shown: Pictures


def export(settings: ExportSettings, place: Path) -> None:
    """Writes the model repository entry that the settings name from the checkpoint at `place`, telling what it does.

    Raises an ExportError, and leaves nothing behind, where anything does not hold.
    """
    started, folder = time.monotonic(), settings.entry.folder
    with entry.staged(folder, force=settings.force) as staging:
        plan = _plan(settings, place)
        held_out = judging.pairs(plan)
        statistics, why = _choose(plan, held_out)
        real = _pictures(plan, held_out)
        model = _build(plan, statistics, real)
        proven = _prove(plan, statistics, model, real)
        judged = _judge(plan, statistics, proven.translate, held_out)
        description = _describe(
            plan, statistics, why, opset=model.opset_import[0].version, proven=proven, judged=judged
        )
        model_file.attach(model, description)
        (staging / entry.MODEL).write_bytes(model.SerializeToString())
        card.write(
            staging,
            plan.source,
            description,
            show_grid=judging.is_as_validated(plan, statistics),
            grid=card.draw(real[: card.SHOWN], proven.shown),
        )
    size = (folder / entry.MODEL).stat().st_size
    # The path as it was given: what is printed is read by the person who typed it.
    _tell("wrote", f"{settings.output}/{entry.MODEL}, {size / 1e6:.1f} MB, in {time.monotonic() - started:.0f} s")


def _plan(settings: ExportSettings, place: Path) -> Plan:
    wished = settings.model_dump(include={"weights", "netG", "norm", "ngf", "input_nc", "output_nc", "dropout"})
    source = loading.load(place, Wishes(**wished))
    step = "" if source.step is None else f", step {source.step:,}"
    _tell("checkpoint", f"{place}{step}, {_WEIGHTS[source.weights]} weights")
    _tell("generator", source.recognised)
    plan = settle(settings, source)
    given, made = plan.sides
    lab = ", Lab inside" if plan.lab else ""
    seeded = ", a seed for each" if plan.seeded else ""
    _tell("graph", f"{_side(given)} → {_side(made)}{lab}{seeded}, {settings.precision}, {plan.decoder} decoder")
    return plan


def _choose(plan: Plan, held_out: Pairs | None) -> tuple[Statistics, StatisticsChoice]:
    source = plan.source
    measured = judging.by_statistics(plan, held_out)
    chosen, reason = statistics_of.choose(
        plan.settings.statistics,
        source.architecture.norm,
        batch_size=source.batch_size,
        gathered=source.gathered,
        origin=source.origin,
        measured=measured or None,
    )
    _tell("statistics", f"{chosen} ({reason})")
    return chosen, StatisticsChoice(reason=reason, image=measured.get("image"), running=measured.get("running"))


def _pictures(plan: Plan, held_out: Pairs | None) -> Pictures:
    """Returns the pictures to prove the export with: those named, else the checkpoint's own, else others at hand."""
    settings, given = plan.settings, plan.sides.given
    most = max(_FEWEST, min(_MOST, _PIXELS // (given.height * given.width)))
    place = settings.pictures or plan.source.examples
    if place is None and held_out is not None:
        spread = np.linspace(0, len(held_out.inputs) - 1, min(most, len(held_out.inputs)))
        chosen: Pictures = held_out.inputs[spread.round().astype(int)]
        return chosen
    place = place or settings.calibrate
    if place is None:
        raise PicturesError(
            f"{plan.source.place} has no pictures beside it to prove the model with; name a folder of real ones with "
            "--pictures, or held-out pairs with --validate"
        )
    return data.load_inputs(place, given, direction=plan.direction, most=most)


def _build(plan: Plan, statistics: Statistics, real: Pictures) -> onnx.ModelProto:
    settings, model = plan.settings, optimize.clean(graph.to_onnx(plan.exported(statistics)))
    if settings.precision == "fp16":
        precision.check_halves(model, real, plan.seeds(len(real)))
    if settings.precision != "int8":
        return precision.store(model, settings.precision)
    if settings.calibrate is None:
        raise OptionError("--precision int8 needs --calibrate: a folder of pictures like those it will translate")
    seen = data.load_inputs(settings.calibrate, plan.sides.given, direction=plan.direction, most=CALIBRATION)
    _tell("calibrated", f"on {len(seen)} pictures of {settings.calibrate}")
    return precision.quantize(model, seen, plan.seeds(len(seen)))


def _prove(plan: Plan, statistics: Statistics, model: onnx.ModelProto, real: Pictures) -> Proof:
    graph.check(model)
    settings, seeds = plan.settings, plan.seeds(len(real))
    stored = model.SerializeToString()
    session = proof.open_session(stored, settings.device)
    proof.prove_contract(session, *plan.sides, seeded=plan.seeded)
    expected = proof.references(plan.reference(statistics), real, seeds)
    bounds = precision.bounds(settings.precision, settings.max_difference, plan.sides.made.dtype)
    parity = proof.prove_values(session, real, expected, bounds, seeds)
    _tell("parity", describe.parity(parity))
    for found in behaviour.prove_sizes(
        session, plan.reference(statistics), real, plan.sides.given, bounds, seeds=seeds
    ):
        _tell("", f"at {found.height} x {found.width}: {describe.parity(found.parity)}")
    # A server may give a picture one thread or all; the arithmetic is split differently, so both are proven.
    for threads in (1, proof.ALL_CORES):
        translate = proof.translate_with(proof.open_session(stored, threads=threads))
        rows = proof.prove_rows(translate, real[:ROWS], None if seeds is None else seeds[:ROWS])
    _tell("batches", describe.rows(rows))
    if plan.seeded:
        apart = behaviour.prove_seeds(translate, real[0])
        _tell("seeds", f"the same picture again for the same one; {apart:.2f} levels on average between different ones")
    kept = fingerprint.take(translate, real[0], parity, seeded=plan.seeded)
    shown = np.concatenate([translate(real[i : i + 1], None) for i in range(min(card.SHOWN, len(real)))])
    return Proof(parity, rows, kept, translate, shown)


def _judge(plan: Plan, statistics: Statistics, translate: Translate, held_out: Pairs | None) -> Judged:
    judged = judging.judge(plan, statistics, translate, held_out)
    if judged is None:
        _tell("figures", "left out: the training validated another form of this model; --validate measures this one")
        return judging.Judged(None, plan.source.baseline)
    if held_out is not None:
        _tell("figures", describe.figures(judged.validation))
    return judged


def _describe(
    plan: Plan, statistics: Statistics, why: StatisticsChoice, *, opset: int, proven: Proof, judged: Judged
) -> Metadata:
    settings, source = plan.settings, plan.source
    given, made = plan.sides
    return Metadata(
        name=settings.entry.name,
        version=settings.entry.version,
        input=given,
        output=made,
        scaling=plan.scaling,
        lab_colorization=plan.lab,
        direction=plan.direction,
        statistics=statistics,
        statistics_choice=why,
        noise=settings.noise,
        precision=settings.precision,
        graph=Graph(optimized_for=plan.target, decoder=plan.decoder, opset=opset),
        weights=source.weights,
        generator=asdict(source.architecture),
        source=Source(checkpoint_sha256=source.sha256, step=source.step, origin=source.origin),
        data=_data(plan),
        validation=judged.validation,
        baseline=judged.baseline,
        parity=proven.parity,
        batch_invariance=proven.rows,
        fingerprint=proven.fingerprint,
        lapis_version=version("lapis"),
    )


def _data(plan: Plan) -> Data:
    """Returns what is known of the data set; what the user says of it wins."""
    settings = plan.settings
    stated = {"name": settings.dataset} | settings.model_dump(include={"licence", "attribution", "url"})
    return plan.source.data.model_copy(update={name: value for name, value in stated.items() if value is not None})


_WEIGHTS = {"ema": "averaged (EMA)", "generator": "last"}


def _side(spec: PictureSpec) -> str:
    height, width = ("H", "W") if spec.any_size else (spec.height, spec.width)
    return f"{spec.dtype} [N, {height}, {width}, {spec.channels}]"


def _tell(what: str, words: str) -> None:
    print(f"{what:10}  {words}", flush=True)
