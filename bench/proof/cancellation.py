"""Callers who cancel at random trouble no one else and leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import report
from bench.plot import compare
from bench.proof.claim import Claim, Proof
from bench.proof.growth import growth
from bench.proof.loads import brief, capacity, left_behind, load, merged
from bench.proof.server import lapis_serve

if TYPE_CHECKING:
    from bench.load import Measured
    from bench.proof.settings import ProofSettings

SHARE = 0.6
CANCELLING = 0.3
# What is not told from chance in a few turns on a machine that others use, too.
NOISE = 0.05


def prove(settings: ProofSettings) -> Proof:
    """Lets the same load, without and with callers who cancel, take turns on one server."""
    calm: list[Measured] = []
    restless: list[Measured] = []
    with lapis_serve(settings.models, settings.flags("--devices cpu --cpu-mode throughput")) as server:
        seconds = settings.load_seconds()
        rate = SHARE * capacity(server, settings.callers, seconds / 2)
        for turn in range(settings.turns()):
            options: dict[str, Any] = {"load": "poisson", "rate": rate, "seconds": seconds, "seed": turn}
            calm.append(load("none cancels", server, **options))
            restless.append(load("30 % cancel", server, **options, cancel=CANCELLING))
        held = left_behind(server)
    spreads = {
        "no one cancels": merged(one.tally.all_latency for one in calm),
        "others, when 30 % cancel": merged(one.tally.all_latency for one in restless),
    }
    figures = {
        "offered_over_capacity": SHARE,
        "left_behind": held,
        "latency": {name: report.spread(spread) for name, spread in spreads.items()},
        "without": [brief(one) for one in calm],
        "with": [brief(one) for one in restless],
    }
    claims = [*_latency_claims(calm, restless), *_leak_claims(held, restless)]
    return Proof(claims, figures, draw=lambda path: compare(spreads, path, "latency of those who do not cancel"))


def _latency_claims(calm: list[Measured], restless: list[Measured]) -> list[Claim]:
    """Holds the others' latency against the slowest of the turns without cancelling: what differs there is noise."""
    claims = []
    for name in ("p50", "p99"):
        share = report.PERCENTILES[name]
        slowest = max(one.tally.all_latency.percentile(share) for one in calm)
        others = merged(one.tally.all_latency for one in restless).percentile(share)
        claims.append(Claim.at_most(f"the others' {name} over that without cancelling", others / slowest, 1 + NOISE))
    return claims


def _leak_claims(held: dict[str, float], restless: list[Measured]) -> list[Claim]:
    claims = [Claim.at_most(f"{name} when all is over", value, 0) for name, value in held.items()]
    failed = sum(one.tally.count("failed") for one in restless)
    claims.append(Claim.at_most("failed calls", failed, 0))
    last = restless[-1].watched
    if last:
        claims.append(Claim.at_most("growth of memory in the last turn", growth(last, "rss_bytes", 0.2), 0.02))
    return claims
