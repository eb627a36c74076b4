"""A day, and a step of ten times, for a fleet that is scaled by demand, by busy lanes, by CPU use, and by nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.scaling.signals import Busy, Cpu, Demand
from bench.scaling.simulate import World, run
from bench.scaling.traffic import DAY, daily, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.scaling.autoscaler import Behaviour
    from bench.scaling.costs import Costs
    from bench.scaling.settings import ScalingSettings
    from bench.scaling.signals import Signal
    from bench.scaling.simulate import Run

# What is usual for scaling by CPU use; and the cores that the chart asks for by itself, for the CPU and beside a GPU.
CPU_TARGET = 0.7
CPU_CORES, GPU_CORES = 2.0, 4.0
STEP_BEGINS, STEP_ENDS, STEP_SECONDS = 300.0, 1500.0, 2700.0
STEP_FACTOR = 10


@dataclass(frozen=True)
class Load:
    """Calls per second over some time."""

    name: str
    rate: Callable[[float], float]
    seconds: float


def loads(costs: Costs, target: float, peak: int) -> list[Load]:
    """Returns the loads: the peak of each keeps so many replicas busy at the target."""
    most = peak * target * costs.rate
    calm = most / STEP_FACTOR
    return [
        Load("a day", partial(daily, least=0.08 * most, most=most), DAY),
        Load(
            f"{STEP_FACTOR} times as much at once",
            partial(step, before=calm, factor=STEP_FACTOR, at=STEP_BEGINS, until=STEP_ENDS),
            STEP_SECONDS,
        ),
    ]


def fleets(costs: Costs, target: float, bounds: Behaviour, peak: int) -> list[tuple[str, Signal | None, Behaviour]]:
    """Returns what is compared: a name, the signal, and the bounds.

    CPU use says what it says of the cores that are asked for: those of the chart, and those that happen to be as many
    as are used when all lanes are busy, which is the best that can be. With the engine on a GPU, what goes on around it
    is all that is seen, here at as many pictures a second.
    """
    cpu, edge = costs.cpu_busy, costs.cpu_edge
    return [
        ("demand (the chart)", Demand(target), bounds),
        ("busy lanes", Busy(target), bounds),
        (f"CPU use of {CPU_CORES:g} cores", Cpu(CPU_TARGET, cpu, CPU_CORES), bounds),
        (f"CPU use of the {cpu:.2f} cores that it comes to", Cpu(CPU_TARGET, cpu, cpu), bounds),
        (f"CPU use of {GPU_CORES:g} cores beside a GPU", Cpu(CPU_TARGET, edge, GPU_CORES), bounds),
        ("no scaling, enough for the peak", None, replace(bounds, least=peak)),
    ]


def compare(settings: ScalingSettings, costs: Costs, target: float, bounds: Behaviour) -> dict[str, list[Run]]:
    """Returns the runs of every load."""
    world = World(costs, settings.start, settings.deadline, settings.aim)
    bounds = replace(bounds, most=max(bounds.most, math.ceil(1.5 * settings.peak)))
    return {
        load.name: [
            run(name, world, held, signal, rate=load.rate, seconds=load.seconds)
            for name, signal, held in fleets(costs, target, bounds, settings.peak)
        ]
        for load in loads(costs, target, settings.peak)
    }


def figures(run_: Run) -> dict[str, Any]:
    """Returns what a run comes to."""
    offered = sum(moment.offered for moment in run_.moments)
    return {
        "missed": round(run_.missed, 5),
        "refused": round(run_.refused_calls / offered, 5) if offered else 0.0,
        "most_replicas": max(moment.replicas for moment in run_.moments),
        "replica_hours": round(run_.replica_hours, 2),
        "changes": run_.changes,
    }
