"""The settings of `python -m bench.scaling`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lapis.command import CommandSettings
from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import CliPositionalArg, SettingsConfigDict


class ScalingSettings(CommandSettings):
    """Shows how the chart's scaling behaves.

    record: a ramp of load on a real server, scraped by a real Prometheus, with the chart's own PromQL and rules.
    simulate: a day, and a step of ten times, over the costs that were recorded, scaled by the chart's targets and
    windows, and by CPU use for comparison. size: replicas for a number of pictures a second, likewise.
    """

    model_config = SettingsConfigDict(env_prefix="LAPIS_SCALING_")

    what: CliPositionalArg[Literal["record", "simulate", "size"]] = Field(description="what is to be done")
    models: Path = Field(Path("models"), description="model repository that is served while a load is recorded")
    serve: str = Field("--devices cpu --instances 1", description="flags of lapis-serve then, as one string")
    seconds: PositiveFloat = Field(
        75.0, description="seconds of a phase of the recorded ramp; overload lasts ten times that"
    )
    start: PositiveFloat = Field(
        60.0, description="seconds from the decision for a replica until it takes calls, in the simulation"
    )
    deadline: PositiveFloat = Field(1.0, description="seconds that simulated callers wait")
    aim: PositiveFloat = Field(0.25, description="seconds of waiting for the engine beyond which a call missed its aim")
    rates: str = Field("10,30,100,300,1000", description="pictures a second that are to be sized for")
    peak: PositiveInt = Field(12, description="replicas that the peak of the simulated day keeps busy at the target")
    output: Path = Field(Path("bench/results"), description="folder of the results")
