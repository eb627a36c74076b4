"""What `python -m bench.proof` does with its settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.proof import (
    cancellation,
    latency,
    overhead,
    overload,
    priority,
    restart,
    saturation,
    soak,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.proof.claim import Proof
    from bench.proof.settings import ProofSettings, Scenario

SCENARIOS: dict[Scenario, Callable[[ProofSettings], Proof]] = {
    "saturation": saturation.prove,
    "overload": overload.prove,
    "latency": latency.prove,
    "cancellation": cancellation.prove,
    "priority": priority.prove,
    "soak": soak.prove,
    "overhead": overhead.prove,
    "restart": restart.prove,
    "versions": versions.prove,
}


def prove(settings: ProofSettings) -> int:
    """Makes the experiment, prints and writes what it showed; returns the exit code. Raises BenchError."""
    settings.output.mkdir(parents=True, exist_ok=True)
    proof = SCENARIOS[settings.scenario](settings)
    print(proof.text())
    path = settings.output / f"{settings.scenario}.json"
    path.write_text(json.dumps(proof.as_json(settings.scenario), indent=2) + "\n", encoding="utf-8")
    if proof.draw:
        proof.draw(path.with_suffix(".png"))
    return 0 if proof.kept else 1
