"""A load in four pictures: rates and latency over time, the spread of latency, and the server."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench import histogram

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray

    from bench.histogram import Histogram
    from bench.load import Measured
    from bench.outcome import Verdict
    from bench.tally import OverTime, Tally
    from bench.watch import Watched

_COLOURS: dict[Verdict, str] = {
    "good": "#2a7f62",
    "refused": "#d98e04",
    "expired": "#c1440e",
    "failed": "#8b0000",
    "cancelled": "#7a7a7a",
}
_PRIORITIES = {"high": "#c1440e", "normal": "#1f5fa8", "low": "#7a7a7a"}
_SHARES = (("p50", 0.5, "#1f5fa8"), ("p99", 0.99, "#c1440e"))
_MEMORY = ("rss_bytes", "process_resident_memory_bytes")
_GAUGES = {
    "lapis_queue_requests": ("waiting for the engine", "#d98e04"),
    "lapis_in_flight_requests": ("in flight", "#2a7f62"),
    "threads": ("threads", "#7a7a7a"),
    "open_files": ("file handles", "#c1440e"),
}
_TICKS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)


def plot(measured: Measured, path: Path) -> None:
    """Writes the plot; its format follows from the name."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    ((rates, spread), (latency, server)) = figure.subplots(2, 2)
    tally = measured.tally
    _draw_rates(rates, tally.over_time)
    _draw_latency(latency, tally.over_time)
    _draw_spread(spread, tally)
    if measured.watched and len(measured.watched.seconds) > 1:
        _draw_server(server, measured.watched)
    else:
        _draw_stages(server, tally)
    for axes in (rates, latency):
        axes.axvspan(0, tally.window.begin, color="#000000", alpha=0.06, lw=0)
    settings = measured.settings
    load = f"{settings.concurrency} callers" if not settings.is_open else f"{settings.rate:g} calls/s"
    figure.suptitle(f"{settings.server}: {settings.load} load, {load}")
    figure.savefig(path, dpi=110)


def compare(spreads: Mapping[str, Histogram], path: Path, title: str) -> None:
    """Writes a plot of the percentiles of several loads, one curve for each."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, (name, spread) in enumerate(spreads.items()):
        if spread.total:
            _draw_curve(axes, spread, f"C{number}", name)
    _finish_spread(axes)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _moments(bins: OverTime) -> NDArray[np.float64]:
    return np.asarray((np.arange(len(bins.due)) + 0.5) * bins.width, np.float64)


def _draw_rates(axes: Axes, bins: OverTime) -> None:
    seconds = _moments(bins)
    axes.plot(seconds, bins.due / bins.width, color="#000000", lw=1, ls=":", label="offered")
    for verdict, colour in _COLOURS.items():
        calls = bins.column(verdict)
        if calls.any() or verdict == "good":
            label = "goodput" if verdict == "good" else verdict
            axes.plot(seconds, calls / bins.width, color=colour, label=label)
    axes.set(title="calls per second", xlabel="seconds", ylim=(0, None), xlim=(0, None))
    _legend(axes)


def _draw_latency(axes: Axes, bins: OverTime) -> None:
    for name, share, colour in _SHARES:
        values = [histogram.percentile(counts, share) * 1000 for counts in bins.latency]
        axes.plot(_moments(bins), values, color=colour, label=name, marker=".")
    axes.set(title="latency of answers, milliseconds", xlabel="seconds", ylim=(0, None), xlim=(0, None))
    _legend(axes)


def _draw_spread(axes: Axes, tally: Tally) -> None:
    for priority, latency in sorted(tally.latency.items()):
        _draw_curve(axes, latency, _PRIORITIES[priority], f"{priority} priority")
    if tally.refusal.total:
        _draw_curve(axes, tally.refusal, _COLOURS["refused"], "refusals")
    _finish_spread(axes)


def _finish_spread(axes: Axes) -> None:
    deepest = max([_nines(0.99), *(float(np.max(line.get_xdata())) for line in axes.lines)])
    ticks = [share for share in _TICKS if _nines(share) <= deepest]
    axes.set_xticks([_nines(share) for share in ticks], [f"{share * 100:.6g} %" for share in ticks])
    axes.set(title="latency by percentile, milliseconds", xlim=(0, deepest))
    if _is_wide(axes):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(0, None)
    axes.grid(alpha=0.3)
    _legend(axes)


def _is_wide(axes: Axes) -> bool:
    """Tells whether what is drawn spans more than a scale from 0 can show."""
    values = np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines] or [np.ones(1)])
    return bool(values.max() > 20 * values.min())


def _legend(axes: Axes, handles: list[Line2D] | None = None) -> None:
    """Puts the legend under the axes, where nothing is drawn."""
    found = handles or axes.get_legend_handles_labels()[0]
    if found:
        axes.legend(handles=found, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)


def _draw_curve(axes: Axes, spread: Histogram, colour: str, label: str) -> None:
    """Draws the percentiles as far as there are calls to tell them by."""
    deepest = _nines(1 - 1 / max(2, spread.total))
    depths = np.linspace(0, deepest, 200)
    axes.plot(depths, [spread.percentile(1 - 10**-depth) * 1000 for depth in depths], color=colour, label=label)


def _nines(share: float) -> float:
    return -math.log10(1 - share)


def _draw_server(axes: Axes, watched: Watched) -> None:
    memory = next((watched.series[name] for name in _MEMORY if name in watched.series), None)
    lines: list[Line2D] = []
    if memory:
        lines += axes.plot(watched.seconds, np.array(memory) / 1e6, color="#1f5fa8", label="memory, MB")
    axes.set(title="the server", xlabel="seconds", ylim=(0, axes.get_ylim()[1] * 1.1), xlim=(0, None))
    right = axes.twinx()
    for name, (label, colour) in _GAUGES.items():
        if name in watched.series:
            lines += right.plot(watched.seconds, watched.series[name], color=colour, label=label, lw=1)
    right.set_ylim(0, right.get_ylim()[1] * 1.1)
    _legend(axes, lines)


def _draw_stages(axes: Axes, tally: Tally) -> None:
    for place, (name, share, colour) in enumerate(_SHARES):
        values = [seconds.percentile(share) * 1000 for seconds in tally.stages.values()]
        axes.bar(np.arange(len(values)) + (place - 0.5) * 0.4, values, 0.4, label=name, color=colour)
    axes.set_xticks(range(len(tally.stages)), list(tally.stages))
    axes.set(title="stages on the server, milliseconds")
    _legend(axes)
