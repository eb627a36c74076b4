"""The service translates nearly as many pictures per second as a bare loop over the engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from bench.proof.claim import Claim, Proof
from bench.service_throughput import ThroughputSettings, measure

if TYPE_CHECKING:
    from bench.proof.settings import ProofSettings


def prove(settings: ProofSettings) -> Proof:
    """Compares with raw pixels, as the bare loop has them, and with PNG files, whose codec needs the same cores."""
    raw, files = _measured(settings, "raw"), _measured(settings, "png")
    claims = [
        Claim.at_least("pictures/s over the faster bare loop's, raw pixels", raw["ratio"], 0.95),
        Claim.told("pictures/s over the faster bare loop's, PNG files", files["ratio"]),
    ]
    return Proof(claims, {"raw": raw, "png": files})


def _measured(settings: ProofSettings, sent: Literal["png", "raw"]) -> dict[str, Any]:
    output = settings.output / f"service_throughput_{sent}.json"
    measure(
        ThroughputSettings(
            models=settings.models,
            sent=sent,
            seconds=settings.load_seconds(10),
            rounds=settings.turns(),
            cold_starts=1,
            callers=settings.callers,
            flags=" ".join(settings.flags("--devices cpu")),
            output=output,
        )
    )
    figures: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return figures
