"""The runs of a simulation, and a recorded ramp, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.scaling.fleet import STEP
from bench.scaling.signals import queue_p95

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from bench.scaling.fleet import Moment
    from bench.scaling.simulate import Run

_COLOURS = ("#2a7f62", "#1f5fa8", "#d98e04", "#8e44ad", "#c1440e", "#7a7a7a")
_POINTS = 480


def plot_runs(runs: Mapping[str, Sequence[Run]], path: Path, title: str) -> None:
    """Writes a column for each load: calls offered, replicas, queue time, and calls that missed their aim."""
    figure = Figure(figsize=(7.5 * len(runs), 11), layout="constrained")
    FigureCanvasAgg(figure)
    columns = figure.subplots(4, len(runs), sharex="col", squeeze=False).T
    for (name, compared), axes in zip(runs.items(), columns, strict=True):
        _draw(axes, name, compared)
    handles, labels = columns[0][1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _draw(axes: Sequence[Axes], name: str, compared: Sequence[Run]) -> None:
    offered, replicas, waiting, missed = axes
    first = compared[0].moments
    unit, seconds = ("hours", 3600.0) if len(first) * STEP > 4 * 3600 else ("minutes", 60.0)
    for run, colour in zip(compared, _COLOURS, strict=True):
        parts = _parts(run.moments)
        at = [part[0].now / seconds for part in parts]
        if run is compared[0]:
            calls = [sum(moment.offered for moment in part) / (len(part) * STEP) for part in parts]
            offered.plot(at, calls, color="#000000", lw=1)
        replicas.step(at, [part[-1].ready for part in parts], color=colour, where="post", label=run.name, lw=1.3)
        waiting.plot(at, [queue_p95(part) for part in parts], color=colour, lw=1)
        missed.plot(at, [100 * _missed(part) for part in parts], color=colour, lw=1)
    offered.set(title=name, ylabel="calls per second", ylim=(0, None))
    replicas.set(ylabel="replicas that are ready", ylim=(0, None))
    waiting.set(ylabel="queue time, p95, seconds", ylim=(0, None))
    missed.set(ylabel="calls that missed their aim, %", ylim=(0, None), xlabel=unit)


def _parts(moments: list[Moment]) -> list[list[Moment]]:
    size = max(1, len(moments) // _POINTS)
    return [moments[begin : begin + size] for begin in range(0, len(moments) - size + 1, size)]


def _missed(part: list[Moment]) -> float:
    offered = sum(moment.offered for moment in part)
    return sum(moment.refused + moment.late for moment in part) / offered if offered else 0.0


def plot_ramp(told: Mapping[str, Any], path: Path) -> None:
    """Writes what was offered, and what each of the chart's measures said meanwhile, over its target."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    offered, measured = figure.subplots(2, sharex=True)
    for phase in told["phases"]:
        offered.plot([phase["begin"], phase["end"]], [phase["offered"]] * 2, color="#000000")
    offered.axhline(told["capacity"], color="#7a7a7a", ls=":", label="capacity of the replica")
    offered.set(ylabel="calls per second", ylim=(0, None))
    offered.legend(frameon=False)
    for number, measure in enumerate(told["measures"]):
        values = np.array(measure["values"])
        if len(values):
            measured.plot(
                values[:, 0],
                values[:, 1] / measure["threshold"],
                color=_COLOURS[number],
                label="the chart's PromQL" if number == 0 else f"its trigger {number + 1}",
            )
    measured.axhline(1, color="#7a7a7a", ls=":")
    measured.set(ylabel="replicas wanted, for the one there is", xlabel="seconds", ylim=(0, None))
    measured.legend(frameon=False)
    figure.suptitle("A recorded ramp, and what the chart's scaling was told")
    figure.savefig(path, dpi=110)
