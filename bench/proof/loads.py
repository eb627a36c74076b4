"""Loads on servers, as experiments need them."""

from __future__ import annotations

import asyncio
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

from bench import report
from bench.histogram import Histogram
from bench.load import Measured, measure
from bench.settings import BenchSettings
from bench.watch import gauges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.proof.server import ServerProcess

# What must be at 0 when no call is under way; whatever is not was forgotten.
HELD = (
    "lapis_in_flight_requests",
    "lapis_admitted_requests",
    "lapis_admitted_bytes",
    "lapis_queue_requests",
    "lapis_queue_bytes",
)
_LONGEST_REST = 10.0


def settings_for(*servers: ServerProcess, **options: Any) -> BenchSettings:  # noqa: ANN401 (fields of BenchSettings)
    """Returns the settings of a load on servers, whose metrics and processes are watched."""
    return BenchSettings(
        server=",".join(server.address for server in servers),
        http=",".join(server.http for server in servers if server.http),
        pid=",".join(str(server.pid) for server in servers),
        **options,
    )


def load(label: str, *servers: ServerProcess, **options: Any) -> Measured:  # noqa: ANN401
    """Puts servers under load and tells on stderr what is going on; raises BenchError."""
    measured = asyncio.run(measure(settings_for(*servers, **options), asyncio.Event()))
    tell(label, measured)
    return measured


def tell(label: str, measured: Measured) -> None:
    """Says in one line how a load went."""
    figures = report.figures(measured)
    rates, latency = figures["rates"], figures["latency"]["all"]
    ends = ", ".join(f"{name} {rates[name]:.1f}" for name in ("offered", "goodput", "refused", "expired", "failed"))
    p50, p99 = ((latency[name] or 0) * 1000 for name in ("p50", "p99"))
    server = f", server {figures['server']['cores'] or 0:.2f} cores" if figures["server"] else ""
    callers = f", callers {figures['callers']['cores']:.2f} cores"
    print(f"{label}: {ends} /s, p50 {p50:.1f} ms, p99 {p99:.1f} ms{server}{callers}", file=sys.stderr, flush=True)


def capacity(server: ServerProcess, callers: int, seconds: float, **options: Any) -> float:  # noqa: ANN401
    """Returns the answers per second of a server that always has work waiting."""
    measured = load("capacity", server, concurrency=callers, seconds=seconds, warmup=2, **options)
    return float(report.figures(measured)["rates"]["goodput"])


def brief(measured: Measured) -> dict[str, Any]:
    """Returns the figures of a load but for those over time, and of the server's series the least and the most."""
    figures = report.figures(measured)
    del figures["over_time"], figures["machine"]
    if figures["server"]:
        server = figures["server"]
        del server["seconds"]
        server["between"] = {name: _bounds(values) for name, values in server.pop("series").items()}
        server["changed"] = {name: change for name, change in server["changed"].items() if "lapis_" in name}
    return figures


def merged(spreads: Iterable[Histogram]) -> Histogram:
    """Returns several histograms as one."""
    together = Histogram()
    for spread in spreads:
        together.merge(spread)
    return together


def left_behind(server: ServerProcess) -> dict[str, float]:
    """Returns what the server still holds when no one calls any more: all at 0 once it has come to rest."""
    end = time.monotonic() + _LONGEST_REST
    while True:
        with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=5) as answer:
            seen = gauges(answer.read().decode())
        held = {name: seen[name] for name in HELD if name in seen}
        if not any(held.values()) or time.monotonic() > end:
            return held
        time.sleep(0.1)


def _bounds(values: list[float | None]) -> list[float]:
    known = [value for value in values if value is not None]
    return [min(known), max(known)] if known else []
