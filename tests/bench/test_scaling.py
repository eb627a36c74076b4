"""The simulation behind the chart's targets: Kubernetes' arithmetic, and a fleet that loses no call."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from bench.errors import BenchError
from bench.proof.server import lapis_serve
from bench.scaling.__main__ import _size
from bench.scaling.autoscaler import Autoscaler, Behaviour, Policy, Rules, behaviour, wanted
from bench.scaling.chart import CHART
from bench.scaling.compare import CPU_CORES, GPU_CORES
from bench.scaling.costs import Costs, Runs, load, told
from bench.scaling.fleet import STEP, Fleet, Replica
from bench.scaling.settings import ScalingSettings
from bench.scaling.signals import Busy, Cpu, Demand, Scraped
from bench.scaling.simulate import World, run
from bench.scaling.sizing import Aim, replicas, table, under

COSTS = Costs(lanes=2, base=0.01, row=0.02, batch=4, cpu_busy=1.2, cpu_edge=0.2)
FREE = Rules(0.0)


@pytest.mark.parametrize(
    ("total", "replicas", "expected"),
    [(1.4, 2, 2), (1.5, 2, 2), (1.6, 2, 3), (7.0, 2, 10), (0.7, 4, 1), (0.0, 4, 0), (2.6, 4, 4)],
    ids=["on target", "within the tolerance", "just above", "a step of five", "a quarter", "nothing", "just below it"],
)
def test_replicas_that_a_total_asks_for(total: float, replicas: int, expected: int) -> None:
    assert wanted(total, 0.7, replicas) == expected


def test_fall_waits_for_its_window_and_a_rise_for_none() -> None:
    scaler = Autoscaler(Behaviour(1, 20, FREE, Rules(300.0)))
    assert scaler.decide(0, 2, 10) == 10
    assert [scaler.decide(at, 10, 2) for at in range(15, 300, 15)] == [10] * 19
    assert scaler.decide(300, 10, 2) == 2


def test_rise_that_does_not_last_its_window_changes_nothing() -> None:
    scaler = Autoscaler(Behaviour(1, 20, Rules(60.0), FREE))
    assert [scaler.decide(at, 2, one) for at, one in enumerate([2, 9, 2])] == [2, 2, 2]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(0.0, (Policy("Pods", 2, 60),)), [4, 4, 4, 4, 6]),
        (Rules(0.0, (Policy("Percent", 100, 60),)), [4, 4, 4, 4, 8]),
        (Rules(0.0, (Policy("Pods", 2, 60), Policy("Percent", 400, 60))), [10, 10, 10, 10, 50]),
        (Rules(0.0, (Policy("Pods", 2, 60), Policy("Percent", 400, 60)), widest=False), [4, 4, 4, 4, 6]),
        (Rules(0.0, is_disabled=True), [2] * 5),
        (FREE, [50] * 5),
    ],
    ids=["pods", "percent", "the widest", "the narrowest", "disabled", "no policy"],
)
def test_rise_is_bounded_by_what_changed_within_the_period(rules: Rules, expected: list[int]) -> None:
    scaler, replicas, seen = Autoscaler(Behaviour(1, 50, rules, FREE)), 2, []
    for at in range(0, 75, 15):
        replicas = scaler.decide(at, replicas, 60)
        seen.append(replicas)
    assert seen == expected


def test_fall_is_bounded_by_the_policy_that_takes_most() -> None:
    rules = Rules(0.0, (Policy("Pods", 1, 60), Policy("Percent", 50, 60)))
    assert Autoscaler(Behaviour(1, 50, FREE, rules)).decide(0, 10, 1) == 5
    assert Autoscaler(Behaviour(3, 50, FREE, FREE)).decide(0, 10, 1) == 3


def test_spec_is_read_and_what_it_leaves_out_is_as_kubernetes_has_it() -> None:
    read = behaviour({"maxReplicas": 9, "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}})
    assert (read.least, read.most) == (1, 9)
    assert read.up == Rules(0.0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
    assert read.down.is_disabled


def test_no_call_is_lost() -> None:
    fleet = Fleet(COSTS, start=5, deadline=1, aim=0.1, rng=np.random.default_rng(1))
    fleet.replicas = [Replica(0.0), Replica(3.0)]
    moments = [fleet.step(number * STEP, 300.0) for number in range(40)]
    worked = sum(moment.busy_seconds for moment in moments) / COSTS.lanes * COSTS.rate
    waiting = sum(replica.waiting for replica in fleet.replicas)
    assert sum(m.offered - m.refused for m in moments) == pytest.approx(worked + waiting)
    assert {moment.ready for moment in moments} == {1, 2}
    assert max(moment.wait for moment in moments) <= 1.0


def test_replica_that_leaves_finishes_what_it_has() -> None:
    fleet = Fleet(COSTS, start=0, deadline=2, aim=0.1, rng=np.random.default_rng(1))
    fleet.replicas = [Replica(0.0), Replica(0.0)]
    fleet.step(0, 600.0)
    left = fleet.replicas[1].waiting
    fleet.scale(STEP, 1)
    moment = fleet.step(STEP, 0.0)
    assert left > 0
    assert moment.busy_seconds > COSTS.lanes * STEP


def test_only_demand_tells_how_much_too_much_there_is() -> None:
    fleet, scraped = Fleet(COSTS, 0, 1, 0.1, np.random.default_rng(1), [Replica(0.0)]), Scraped(COSTS)
    scraped.moments = [fleet.step(number * STEP, 5 * COSTS.rate) for number in range(240)]
    assert Demand(0.7).total(scraped, 120.0) == pytest.approx(5, rel=0.1)
    assert Busy(0.7).total(scraped, 120.0) == pytest.approx(1, rel=0.01)
    assert Cpu(0.7, used=1.2, asked=1.0).total(scraped, 120.0) == pytest.approx(1.2, rel=0.01)
    assert Cpu(0.7, used=1.2, asked=4.0).total(scraped, 120.0) == pytest.approx(0.3, rel=0.01)


def test_nothing_is_known_before_the_first_scrape() -> None:
    assert Demand(0.7).total(Scraped(COSTS), 10.0) is None


def test_scaled_fleet_meets_what_one_that_is_not_misses() -> None:
    world = World(COSTS, start=30, deadline=1, aim=0.25)
    bounds = Behaviour(1, 10)
    still, scaled = (
        run("", world, bounds, signal, rate=lambda now: 30.0 if now < 120 else 300.0, seconds=900)
        for signal in (None, Demand(0.7))
    )
    assert scaled.missed < still.missed / 2
    assert max(moment.replicas for moment in scaled.moments) == pytest.approx(300 / 0.7 / COSTS.rate, abs=1)


ONE_BY_ONE = Runs(lanes=1, base=0.0, row=0.04, batch=1)
IN_BATCHES = Runs(lanes=1, base=0.02, row=0.001, batch=32)


@pytest.mark.parametrize("runs", [ONE_BY_ONE, IN_BATCHES, COSTS], ids=["one by one", "in batches", "two lanes"])
def test_sizing_keeps_what_is_in_use_below_the_target(runs: Runs) -> None:
    full = runs.rate * 0.7
    assert [replicas(runs, rate, Aim(0.7)) for rate in (1, full, 1.01 * full, 57.5 * full)] == [1, 1, 2, 58]


def test_table_tells_what_is_sized() -> None:
    last = table(ONE_BY_ONE, [1000], Aim(0.7)).splitlines()[-1]
    assert last.startswith("| 1000 | 58 | 0.69 | 1.0 | 0.69 |")


@pytest.mark.parametrize("busy", [0.1, 0.4, 0.7, 0.9])
def test_calls_wait_as_queueing_theory_has_it(busy: float) -> None:
    """Pollaczek and Khinchine's mean of a single server whose runs take the same time each."""
    expected = busy / (2 * (1 - busy)) * ONE_BY_ONE.run
    assert under(ONE_BY_ONE, busy / ONE_BY_ONE.run).mean_wait == pytest.approx(expected, rel=0.1)


def test_batches_grow_with_the_load_and_lanes_are_busy_before_they_are_full() -> None:
    loads = [under(IN_BATCHES, share * IN_BATCHES.rate) for share in (0.01, 0.1, 0.5, 0.9)]
    assert [load.batch for load in loads] == sorted(load.batch for load in loads)
    assert loads[0].batch == pytest.approx(1, abs=0.2)
    assert loads[-1].batch > 16
    assert loads[2].busy > 0.9
    assert loads[2].slow_wait < IN_BATCHES.run


def test_what_cannot_be_kept_up_with_waits_for_ever_and_is_given_more_replicas() -> None:
    assert under(IN_BATCHES, IN_BATCHES.rate).mean_wait == float("inf")
    assert replicas(IN_BATCHES, 3 * IN_BATCHES.rate, Aim(0.7, wait=10)) > 3


def test_sized_by_waiting_there_is_one_replica_less_that_would_not_do() -> None:
    rate = 2.5 * IN_BATCHES.rate
    enough = replicas(IN_BATCHES, rate, Aim(0.7, wait=0.03))
    assert under(IN_BATCHES, rate / enough).slow_wait <= 0.03
    assert under(IN_BATCHES, rate / (enough - 1)).slow_wait > 0.03


def test_share_that_is_sized_for_is_the_one_that_the_chart_scales_by() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert ScalingSettings(what="size").used == values["autoscaling"]["busy"]["target"]


METRICS = """
lapis_engine_lanes 2.0
lapis_cost_base_seconds{model="m",version="9"} 0.5
lapis_cost_row_seconds{model="m",version="9"} 0.5
lapis_cost_bucket_seconds{bucket="2",model="m",version="9"} 1.5
lapis_cost_base_seconds{model="m",version="10"} 0.002
lapis_cost_row_seconds{model="m",version="10"} 0.001
lapis_cost_bucket_seconds{bucket="1",model="m",version="10"} 0.003
lapis_cost_bucket_seconds{bucket="16",model="m",version="10"} 0.018
"""


def test_running_replica_is_sized_by_what_it_tells_of_its_newest_version() -> None:
    assert told(METRICS, "here:1", "") == Runs(2, 0.002, 0.001, 16)
    assert told(METRICS, "here:1", "m") == Runs(2, 0.002, 0.001, 16)


@pytest.mark.parametrize(
    ("metrics", "model", "sentence"),
    [
        ("up 1\n", "", "--replica here:1: tells no costs"),
        ("lapis_engine_lanes 2.0\n", "", "--replica here:1: tells no costs"),
        (METRICS, "n", "--model: 'n' is none of those at here:1: m"),
        (METRICS + METRICS.replace('"m"', '"k"'), "", "--model: '' is none of those at here:1: k, m"),
    ],
)
def test_replica_that_tells_nothing_of_the_model_is_refused(metrics: str, model: str, sentence: str) -> None:
    with pytest.raises(BenchError, match=f"^{sentence}"):
        told(metrics, "here:1", model)


def test_real_replica_tells_its_costs_before_its_first_call(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--devices", "cpu", "--instances", "1", "--buckets", "1,2"]
    with lapis_serve(CHART.parents[2] / "models", flags) as server:
        assert _size(ScalingSettings(what="size", replica=server.http, rates="1,500")) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 lane, ")
    assert " at most 2: " in said
    assert len(said.splitlines()) == 6


def test_replica_that_is_not_there_is_told_of() -> None:
    with pytest.raises(BenchError, match=r"^--replica 127\.0\.0\.1:9: no metrics there"):
        _size(ScalingSettings(what="size", replica="127.0.0.1:9"))


@pytest.mark.parametrize("content", [None, "", "{}", '{"lanes": 1, "more": 2}'])
def test_costs_that_cannot_be_read_are_told_with_what_writes_them(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "costs.json").write_text(content)
    with pytest.raises(BenchError, match="no costs; `python -m bench"):
        load(tmp_path / "costs.json")


@pytest.mark.parametrize("rates", ["a,b", "10,,20", "0", "-3", "nan"])
def test_rates_that_are_none_are_refused(tmp_path: Path, rates: str) -> None:
    COSTS.save(tmp_path / "scaling_costs.json")
    with pytest.raises(BenchError, match="--rates"):
        _size(ScalingSettings(what="size", output=tmp_path, rates=rates))


def test_cpu_use_is_compared_at_the_cores_that_the_chart_asks_for() -> None:
    template = (CHART / "templates" / "_accelerator.tpl").read_text(encoding="utf-8")
    (cpu,) = re.findall(r'dict "cpu" \(list "(\d+)"', template)
    (gpu,) = re.findall(r' "gpu" \(list "(\d+)"', template)
    assert (float(cpu), float(gpu)) == (CPU_CORES, GPU_CORES)
