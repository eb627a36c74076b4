"""A load that climbs to three times what a server can do and falls again, scraped by a real Prometheus."""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.prometheus import Prometheus, Target
from bench.proof.loads import capacity, load
from bench.proof.server import lapis_serve
from bench.scaling.costs import Costs

if TYPE_CHECKING:
    from bench.proof.server import ServerProcess
    from bench.scaling.chart import Scaling

SCRAPE_SECONDS = 5.0
# Shares of capacity, one after the other, and how many times as long as the others each lasts: the overload long enough
# for alerts that wait ten minutes.
PHASES = ((0.2, 1), (0.5, 1), (0.7, 1), (1.0, 1), (3.0, 10), (0.5, 1), (0.1, 1))
DEADLINE = 1.0
# What scaling and alerts look at; the whole exposition would be a hundred times as long.
_KEPT = '{job=~".+",__name__=~"up|process_cpu_seconds_total|lapis_.*",__name__!~".*_created"}'


@dataclass(frozen=True)
class Phase:
    """A part of the ramp: when it began and ended (seconds since 1970), and what was offered."""

    factor: float
    begin: float
    end: float
    offered: float


@dataclass(frozen=True)
class Recorded:
    """The ramp, its series in promtool's notation, what each of the chart's measures said, and the costs."""

    capacity: float
    phases: list[Phase]
    series: list[dict[str, str]]
    said: list[dict[str, Any]]
    costs: Costs
    alerts: list[str]

    def save(self, folder: Path) -> None:
        """Writes `scaling_ramp.json`, and the costs as `scaling_costs.json`."""
        start = self.phases[0].begin
        told = {
            "capacity": round(self.capacity, 2),
            "interval": f"{SCRAPE_SECONDS:g}s",
            "phases": [
                {
                    "factor": phase.factor,
                    "offered": round(phase.offered, 2),
                    "begin": round(phase.begin - start, 1),
                    "end": round(phase.end - start, 1),
                }
                for phase in self.phases
            ],
            "measures": self.said,
            "alerts": self.alerts,
            "input_series": self.series,
        }
        (folder / "scaling_ramp.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        self.costs.save(folder / "scaling_costs.json")


def record(models: Path, flags: list[str], seconds: float, scaling: Scaling) -> Recorded:
    """Puts a server of its own through the ramp, `seconds` for a phase and more for overload; raises BenchError."""
    with tempfile.TemporaryDirectory() as folder, lapis_serve(models, flags) as server:
        able = capacity(server, 8, 10)
        rules = scaling.write_rules(Path(folder) / "rules.yaml")
        target = Target(server.http, {**scaling.labels, "pod": "pod-0"})
        with Prometheus([target], SCRAPE_SECONDS, [rules]) as prometheus:
            prometheus.until("up == 1")
            phases = [_phase(server, factor, able, seconds * times) for factor, times in PHASES]
            return _told(prometheus, scaling, able, phases)


def _phase(server: ServerProcess, factor: float, able: float, seconds: float) -> Phase:
    begin = time.time()
    load(
        f"{factor:g} of capacity",
        server,
        load="poisson",
        rate=factor * able,
        deadline=f"{DEADLINE:g}",
        seconds=seconds,
        warmup=0,
    )
    return Phase(factor, begin, time.time(), factor * able)


def _told(prometheus: Prometheus, scaling: Scaling, able: float, phases: list[Phase]) -> Recorded:
    begin, end = phases[0].begin, phases[-1].end
    said = [
        {
            "query": trigger.query,
            "threshold": trigger.threshold,
            "values": [
                [round(at - begin, 1), round(value, 4)]
                for track in prometheus.range(trigger.query, begin, end, SCRAPE_SECONDS)
                for at, value in track.points
            ],
        }
        for trigger in scaling.triggers
    ]
    firing = f'ALERTS{{alertstate="firing"}}[{math.ceil(end - begin)}s]'
    fired = {alert.labels["alertname"] for alert in prometheus.query(f"last_over_time({firing})")}
    series = prometheus.dump(_KEPT, begin, end, SCRAPE_SECONDS)
    full = next(phase for phase in phases if phase.factor == max(factor for factor, _ in PHASES))
    return Recorded(able, phases, series, said, _costs(prometheus, full), sorted(fired))


def _costs(prometheus: Prometheus, full: Phase) -> Costs:
    """Returns what a replica costs while all its lanes are busy."""
    window, at = f"{int(full.end - full.begin - 2 * SCRAPE_SECONDS)}s", full.end - SCRAPE_SECONDS

    def ask(promql: str) -> float:
        found = prometheus.query(promql, at)
        if not found:
            raise BenchError(f"{promql}: nothing was recorded")
        return found[0].value

    lanes = int(ask("max(lapis_engine_lanes)"))
    cpu = ask(f"sum(rate(process_cpu_seconds_total[{window}]))")
    busy = ask(f"sum(rate(lapis_engine_busy_seconds_total[{window}]))")
    rows = ask(f"sum(rate(lapis_batch_size_sum[{window}])) / sum(rate(lapis_batch_size_count[{window}]))")
    # By what was answered, and not by the cost model alone: a batch of one row took this long on average.
    run = busy / ask(f"sum(rate(lapis_batch_size_count[{window}]))")
    base = min(ask("max(lapis_cost_base_seconds)"), run)
    batch = max(1, round(rows))
    return Costs(
        lanes=lanes,
        base=base,
        row=(run - base) / batch,
        batch=batch,
        cpu_busy=cpu / busy,
        cpu_edge=(cpu - busy) / busy,
    )
