"""The settings of `python -m bench.proof`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from lapis.command import CommandSettings
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from pydantic_settings import CliPositionalArg, SettingsConfigDict

Scenario: TypeAlias = Literal[
    "saturation", "overload", "latency", "cancellation", "priority", "soak", "overhead", "restart", "versions"
]


class ProofSettings(CommandSettings):
    """Starts servers of its own, puts them under load, and says whether they keep what is promised.

    saturation: pictures/s over a bare loop of the engine. overload: goodput, refusals and memory at 3 and 10 times
    capacity. latency: p99 at 0.7 of capacity over the unloaded server's. cancellation: what the others notice when 30 %
    of the callers cancel. priority: high priority under a flood of low. soak: growth over a long time. overhead:
    calls/s with a model that does nothing, over a bare echo. restart, versions: failed calls while servers or models
    are replaced.

    Exit code 0: all promises are kept; 1: not all; 2: wrong usage, or it could not be measured.
    """

    model_config = SettingsConfigDict(env_prefix="LAPIS_PROOF_")

    scenario: CliPositionalArg[Scenario] = Field(description="what is to be shown")
    models: Path = Field(Path("models"), description="model repository; its default or only model is measured")
    seconds: NonNegativeFloat = Field(
        0, description="seconds of each load; 0: 1200 for soak, 30 for versions and restart, else 20"
    )
    rounds: NonNegativeInt = Field(0, description="turns of what is compared, one after the other; 0: 3")
    serve: str = Field(
        "auto",
        description="flags of lapis-serve, as one string; auto: on the CPU, one run at a time where callers must not "
        "disturb it, so that a core is left to them",
    )
    callers: PositiveInt = Field(8, description="callers that keep the server busy when its capacity is measured")
    output: Path = Field(
        Path("bench/results"), description="folder for SCENARIO.json and, where it helps, SCENARIO.png"
    )

    def load_seconds(self, usual: float = 20.0) -> float:
        """Returns the seconds of each load."""
        return self.seconds or usual

    def turns(self) -> int:
        """Returns how often the loads that are compared take turns."""
        return self.rounds or 3

    def flags(self, usual: str) -> list[str]:
        """Returns the flags of lapis-serve."""
        return (usual if self.serve == "auto" else self.serve).split()
