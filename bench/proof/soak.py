"""A server that has worked for long is as it was when it was warm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench import report
from bench.plot import plot
from bench.proof.claim import Claim, Proof
from bench.proof.growth import growth
from bench.proof.loads import capacity, left_behind, load
from bench.proof.server import lapis_serve

if TYPE_CHECKING:
    from bench.proof.settings import ProofSettings

SHARE = 0.7
WARM = 0.2  # the share of the time that the server may take to settle: allocators fill, callers spread
MIXED = {
    "priority": "high=0.2,normal=0.5,low=0.3",
    "deadline": "none=0.5,5=0.3,0.5=0.2",
    "pictures": "png:256=0.4,jpeg:512x384=0.2,webp:300x400=0.1,raw:256=0.2,png:640=0.1",
    "answer": "png=0.4,jpeg=0.3,webp=0.1,raw=0.2",
    "cancel": 0.1,
}
# Each may not be more at the end than it was when warm, by more than this share.
MOST_GROWTH = {"rss_bytes": 0.01, "threads": 0.0, "open_files": 0.0, "lapis_event_loop_tasks": 0.1}


def prove(settings: ProofSettings) -> Proof:
    """Mixes everything that callers do, for long, and compares the end with when the server was warm."""
    with lapis_serve(settings.models, settings.flags("--devices cpu --cpu-mode throughput")) as server:
        able = capacity(server, settings.callers, 10, pictures=MIXED["pictures"], answer=MIXED["answer"])
        measured = load(
            "soak",
            server,
            load="poisson",
            rate=SHARE * able,
            seconds=settings.load_seconds(1200),
            connections=4,
            **MIXED,
        )
        held = left_behind(server)
    claims = [Claim.at_most("failed calls", measured.tally.count("failed"), 0)]
    if measured.watched:
        grown = {name: growth(measured.watched, name, WARM) for name in MOST_GROWTH}
        claims += [
            Claim.at_most(f"growth of {name} after the first {WARM:.0%} of the time", grown[name], limit)
            for name, limit in MOST_GROWTH.items()
            if math.isfinite(grown[name])
        ]
    claims += [Claim.at_most(f"{name} when all is over", value, 0) for name, value in held.items()]
    figures = {"capacity": able, "left_behind": held, "load": report.figures(measured)}
    return Proof(claims, figures, draw=lambda path: plot(measured, path))
