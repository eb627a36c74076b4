"""The simulation behind the chart's targets: Kubernetes' arithmetic, and a fleet that loses no call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError
from bench.scaling.__main__ import _size
from bench.scaling.autoscaler import Autoscaler, Behaviour, Policy, Rules, behaviour, wanted
from bench.scaling.chart import Scaling, Trigger
from bench.scaling.costs import Costs, load
from bench.scaling.fleet import STEP, Fleet, Replica
from bench.scaling.settings import ScalingSettings
from bench.scaling.signals import Busy, Cpu, Demand, Scraped
from bench.scaling.simulate import World, run
from bench.scaling.sizing import replicas, table, waits

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
    assert Cpu(0.7, engine_on_gpu=False).total(scraped, 120.0) == pytest.approx(1.2, rel=0.01)
    assert Cpu(0.7, engine_on_gpu=True).total(scraped, 120.0) == pytest.approx(0.2, rel=0.01)


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


def test_sizing_keeps_lanes_below_the_target() -> None:
    assert COSTS.rate == pytest.approx(2 * 4 / 0.09)
    assert [replicas(COSTS, rate, 0.7) for rate in (1, COSTS.rate * 0.7, COSTS.rate * 0.71, 1000)] == [1, 1, 2, 17]
    assert waits(COSTS, 2 * COSTS.rate, 1) == float("inf")
    assert waits(COSTS, 10, 2) < waits(COSTS, 10, 1) < waits(COSTS, 40, 1)
    assert table(COSTS, [1000], 0.7).endswith("| 1000 | 17 | 0.66 | " + f"{waits(COSTS, 1000, 17) * 1000:.0f} ms |")


@pytest.mark.parametrize("content", [None, "", "{}", '{"lanes": 1, "more": 2}'])
def test_costs_that_cannot_be_read_are_told_with_what_writes_them(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "costs.json").write_text(content)
    with pytest.raises(BenchError, match="no costs; `python -m bench"):
        load(tmp_path / "costs.json")


@pytest.mark.parametrize("rates", ["a,b", "10,,20", "0", "-3", "nan"])
def test_rates_that_are_none_are_refused(tmp_path: Path, rates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    COSTS.save(tmp_path / "scaling_costs.json")
    monkeypatch.setattr(
        "bench.scaling.chart.scaling",
        lambda: Scaling("x", [Trigger("", 0.7)], behaviour({"minReplicas": 1, "maxReplicas": 2}), []),
    )
    with pytest.raises(BenchError, match="--rates"):
        _size(ScalingSettings(what="size", output=tmp_path, rates=rates))
