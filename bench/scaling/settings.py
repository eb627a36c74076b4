"""The settings of `python -m bench.scaling`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lapis.command import CommandSettings
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic_settings import CliPositionalArg, SettingsConfigDict


class ScalingSettings(CommandSettings):
    """Shows how the chart's scaling behaves.

    record: a ramp of load on a real server, scraped by a real Prometheus, with the chart's own PromQL and rules.
    simulate: a day, and a step of ten times, over the costs that were recorded, scaled by the chart's targets and
    windows, and by CPU use for comparison. size: replicas for a number of pictures a second, and the batches in which
    they then run, over those costs or over what a running replica tells of its own.
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
    used: float = Field(
        0.7, gt=0, lt=1, description="share of what replicas can do that is to be in use where they are sized"
    )
    wait: NonNegativeFloat = Field(
        0,
        description="seconds that 95 of 100 calls may wait for the engine, sized for in place of --used; 0: none",
    )
    replica: str = Field(
        "", description="HTTP address, HOST:PORT, of a running replica to size, in place of the one that was recorded"
    )
    model: str = Field("", description="which of that replica's models; not needed where it has one only")
    peak: PositiveInt = Field(12, description="replicas that the peak of the simulated day keeps busy at the target")
    output: Path = Field(Path("bench/results"), description="folder of the results")
