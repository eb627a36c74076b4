"""The figures of a load, made for programs: what `--output` writes as JSON. Times are in seconds."""

from __future__ import annotations

import math
import os
import platform
from typing import TYPE_CHECKING, Any

from bench import histogram
from bench.tally import VERDICTS

if TYPE_CHECKING:
    from bench.histogram import Histogram
    from bench.load import Measured
    from bench.tally import OverTime, Tally
    from bench.watch import Watched

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def figures(measured: Measured) -> dict[str, Any]:
    """Returns all figures; those that there are no values for are null."""
    tally, settings = measured.tally, measured.settings
    report: dict[str, Any] = {
        "settings": settings.model_dump(mode="json", exclude={"config", "output", "plot"}),
        "measured_seconds": round(_seconds(tally), 3),
        "interrupted": measured.interrupted,
        "rates": _rates(tally),
        "calls": {"offered": sum(tally.calls.values()), **{end: tally.count(end) for end in VERDICTS}},
        "codes": _codes(tally),
        "latency_from": "the moment when the call was due (corrected for coordinated omission)"
        if settings.is_open
        else "the moment when the call was sent (closed load: service time)",
        "latency": {
            "all": spread(tally.all_latency),
            **{priority: spread(latency) for priority, latency in sorted(tally.latency.items())},
        },
        "latency_from_sent": spread(tally.from_sent),
        "time_to_refusal": spread(tally.refusal),
        "late": _late(tally),
        "server_stages": {stage: spread(seconds) for stage, seconds in tally.stages.items()},
        "batch_sizes": {str(size): calls for size, calls in sorted(tally.batch_sizes.items())},
        "answered_by": dict(sorted(tally.models.items())),
        "answered_from_cache": tally.cached,
        "callers": _callers(tally, settings.processes),
        "server": _server(measured.watched) if measured.watched else None,
        "over_time": _over_time(tally.over_time),
        "machine": machine(),
    }
    return {key: _without_nan(value) for key, value in report.items()}


def spread(seconds: Histogram) -> dict[str, float]:
    """Returns number, mean, percentiles, least and most."""
    shares = {name: _short(seconds.percentile(share)) for name, share in PERCENTILES.items()}
    return {
        "calls": seconds.total,
        "mean": _short(seconds.mean),
        "least": _short(seconds.least),
        **shares,
        "most": _short(seconds.most) if seconds.total else math.nan,
    }


def machine() -> dict[str, Any]:
    """Returns what the figures were measured on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _seconds(tally: Tally) -> float:
    return max(tally.stopped_at - tally.window.begin, 1e-9)


def _rates(tally: Tally) -> dict[str, float]:
    """Returns calls per second: offered by when they were due, all others by when they ended."""
    seconds = _seconds(tally)
    by_end: dict[str, float] = {end: round(tally.ended[end] / seconds, 3) for end in VERDICTS}
    answered = (tally.ended["good"] + tally.ended["late"]) / seconds
    goodput = by_end.pop("good")
    return {
        "offered": round(sum(tally.calls.values()) / seconds, 3),
        "goodput": goodput,
        "answered": round(answered, 3),
        **by_end,
    }


def _codes(tally: Tally) -> list[dict[str, Any]]:
    rows = sorted(tally.calls.items(), key=lambda row: (row[0][0], -row[1]))
    return [
        {"priority": priority, "ended": verdict, "code": code, "reason": reason, "calls": calls}
        for (priority, verdict, code, reason), calls in rows
    ]


def _late(tally: Tally) -> dict[str, Any]:
    """Returns the answers that came after their deadline; by less than the callers' lag, it may be theirs."""
    return {
        "calls": tally.count("late"),
        "by_most": _short(tally.late_by.most),
        "by_more_than_the_callers_lag": tally.late_by.above(tally.lag.most),
    }


def _callers(tally: Tally, processes: int) -> dict[str, Any]:
    cores = tally.cpu_seconds / tally.wall_seconds if tally.wall_seconds else 0.0
    return {
        "processes": processes,
        "cpu_seconds": round(tally.cpu_seconds, 2),
        "cores": round(cores, 3),
        "sent_late": spread(tally.sent_late),
        "lag": spread(tally.lag),
        "kept_up": kept_up(tally, processes),
    }


def kept_up(tally: Tally, processes: int) -> bool:
    """Tells whether the callers were fast enough for their own figures to be believed."""
    busy = tally.cpu_seconds / tally.wall_seconds / processes if tally.wall_seconds else 0.0
    behind = tally.sent_late.percentile(0.99) if tally.sent_late.total else 0.0
    return busy < 0.9 and behind < max(0.05, 0.05 * tally.all_latency.percentile(0.5)) and not tally.count("unsent")


def _server(watched: Watched) -> dict[str, Any]:
    return {
        "cpu_seconds": round(watched.cpu_seconds, 2),
        "cores": round(watched.cpu_seconds / watched.wall_seconds, 3) if watched.wall_seconds else math.nan,
        "changed": {name: round(change, 6) for name, change in watched.counters.items()},
        "answered_within": {str(bound): calls for bound, calls in watched.answered_within.items()},
        "seconds": [round(moment, 2) for moment in watched.seconds],
        "series": {name: [_short(value) for value in values] for name, values in sorted(watched.series.items())},
    }


def _over_time(bins: OverTime) -> dict[str, Any]:
    percentiles = {
        f"latency_{name}": [_short(histogram.percentile(counts, PERCENTILES[name])) for counts in bins.latency]
        for name in ("p50", "p99")
    }
    per_second: dict[str, Any] = {
        end: [round(calls / bins.width, 3) for calls in bins.column(end).tolist()] for end in VERDICTS
    }
    return {
        "bin_seconds": bins.width,
        "offered": [round(calls / bins.width, 3) for calls in bins.due.tolist()],
        **per_second,
        **percentiles,
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}") if math.isfinite(value) else math.nan


def _without_nan(value: Any) -> Any:  # noqa: ANN401 (anything that JSON can hold)
    """Returns the same with None for NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
