"""How good the model is on held-out pairs: to choose its statistics by, and to say so in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from export import data, proof, validation

if TYPE_CHECKING:
    from export.metadata import Figures, Statistics
    from export.plan import Plan
    from export.proof import Pictures, Seeds, Translate


class Pairs(NamedTuple):
    """Inputs and targets, [n, H, W, C] each, as the model takes and gives them."""

    inputs: Pictures
    targets: Pictures


class Judged(NamedTuple):
    """The model's figures on held-out pairs, and those of its input taken as the answer; None where unknown."""

    validation: Figures | None
    baseline: Figures | None


def pairs(plan: Plan) -> Pairs | None:
    """Returns the held-out pairs of `--validate`; None where the user has named none."""
    if plan.settings.validate_on is None:
        return None
    return Pairs(*data.load_pairs(plan.settings.validate_on, *plan.sides, direction=plan.direction, lab=plan.lab))


def by_statistics(plan: Plan, held_out: Pairs | None) -> dict[Statistics, Figures]:
    """Returns the figures with either kind of statistics, in PyTorch; nothing where there is no choice to be made."""
    source = plan.source
    if plan.settings.statistics != "auto" or source.architecture.norm != "batch" or not source.gathered:
        return {}
    if held_out is None:
        return {}
    kinds: tuple[Statistics, ...] = ("image", "running")
    return {kind: _figures(plan, _in_torch(plan, kind), held_out) for kind in kinds}


def judge(plan: Plan, chosen: Statistics, translate: Translate, held_out: Pairs | None) -> Judged | None:
    """Returns the figures of the very model that `translate` runs, or the training's where they are of this model.

    None: the training's are of another model: other weights, statistics, size or precision.
    """
    source = plan.source
    if held_out is not None:
        given, made = plan.sides
        alike = given.channels == made.channels
        baseline = _figures(plan, lambda rows, _: rows, held_out) if alike else None
        return Judged(_figures(plan, translate, held_out), baseline)
    if source.validation is None or is_as_validated(plan, chosen):
        return Judged(source.validation, source.baseline)
    return None


def is_as_validated(plan: Plan, chosen: Statistics) -> bool:
    """Tells whether this is the very model whose figures and pictures the training measured and drew."""
    source = plan.source
    usual: Statistics = "image" if source.batch_size == 1 or source.architecture.norm == "instance" else "running"
    at_size = (plan.sides.given.height, plan.sides.given.width) == (source.height, source.width)
    as_usual = chosen in {usual, "none"} and not plan.seeded and at_size
    near = plan.settings.precision != "int8"  # the figures' last digits stay as they are
    return source.weights == source.best_weights and as_usual and near


def _figures(plan: Plan, translate: Translate, held_out: Pairs) -> Figures:
    seeds = plan.seeds(len(held_out.inputs))
    return validation.measure(translate, held_out.inputs, held_out.targets, plan.sides.made, seeds)


def _in_torch(plan: Plan, chosen: Statistics) -> Translate:
    reference = plan.reference(chosen)

    def translate(pictures: Pictures, seeds: Seeds | None = None) -> Pictures:
        return proof.references(reference, pictures, seeds)

    return translate
