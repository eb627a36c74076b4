"""The service translates nearly as many pictures per second as a bare loop over the engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.proof.claim import Claim, Proof
from bench.service_throughput import ThroughputSettings, measure

if TYPE_CHECKING:
    from bench.proof.settings import ProofSettings


def prove(settings: ProofSettings) -> Proof:
    """Runs the benchmark of the service's throughput."""
    output = settings.output / "service_throughput.json"
    measure(
        ThroughputSettings(
            models=settings.models,
            seconds=settings.load_seconds(10),
            rounds=settings.turns(),
            callers=settings.callers,
            flags=" ".join(settings.flags("--devices cpu")),
            output=output,
        )
    )
    figures = json.loads(output.read_text(encoding="utf-8"))
    return Proof([Claim.at_least("pictures/s over the faster bare loop's", figures["ratio"], 0.95)], figures)
