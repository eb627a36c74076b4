"""At 3 and 10 times its capacity, with callers who wait a second, a server does nearly as much as at its capacity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bench import report
from bench.plot import plot
from bench.proof.claim import Claim, Proof
from bench.proof.growth import growth
from bench.proof.loads import brief, capacity, load
from bench.proof.server import lapis_serve

if TYPE_CHECKING:
    from bench.load import Measured
    from bench.proof.server import ServerProcess
    from bench.proof.settings import ProofSettings

FACTORS = (3, 10)
DEADLINE = 1.0


def prove(settings: ProofSettings) -> Proof:
    """Overloads one server, its capacity measured before and after: what else the machine does weighs on both."""
    claims: list[Claim] = []
    figures: dict[str, Any] = {}
    with lapis_serve(settings.models, settings.flags("--devices cpu --instances 1 --cpu-mode throughput")) as server:
        for factor in FACTORS:
            measured, able = _overload(settings, server, factor)
            claims += _claims(factor, measured, able)
            figures[f"{factor}x"] = {"capacity": able, **brief(measured)}
    return Proof(claims, figures, draw=lambda path: plot(measured, path))


def _overload(settings: ProofSettings, server: ServerProcess, factor: int) -> tuple[Measured, float]:
    seconds = settings.load_seconds()
    before = capacity(server, settings.callers, seconds / 2)
    measured = load(
        f"{factor} times capacity",
        server,
        load="poisson",
        rate=factor * before,
        deadline=f"{DEADLINE:g}",
        seconds=seconds,
        warmup=3,
    )
    return measured, (before + capacity(server, settings.callers, seconds / 2)) / 2


def _claims(factor: int, measured: Measured, able: float) -> list[Claim]:
    figures, at = report.figures(measured), f"at {factor} times capacity"
    refusal = measured.tally.refusal.percentile(0.5)
    late = figures["late"]["by_more_than_the_callers_lag"]
    claims = [
        Claim.at_least(f"goodput over capacity {at}", figures["rates"]["goodput"] / able, 0.9),
        Claim.at_most(f"seconds to a refusal at the median {at}", refusal if math.isfinite(refusal) else 0.0, 0.05),
        Claim.at_most(f"answers after their deadline, by the callers' clock, {at}", late, 0),
    ]
    if measured.watched:
        too_late = answered_later_than(DEADLINE, measured.watched.answered_within)
        claims += [
            Claim.at_most(f"answers after their deadline, by the server's clock, {at}", too_late, 0),
            Claim.at_most(f"growth of the server's memory {at}", growth(measured.watched, "rss_bytes", 1 / 3), 0.02),
        ]
    return claims


def answered_later_than(seconds: float, answered_within: dict[float, float]) -> float:
    """Returns how many requests a server answered with OK later than that, from the counts of its own histogram."""
    return answered_within.get(math.inf, 0.0) - answered_within.get(seconds, 0.0)
