"""What scales and what calls, replayed over a recorded load: a real service from a fifth of what it can do to three
times as much and back (`python -m bench.scaling record`), through the chart's PromQL and rules as they are now."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.scaling.chart import Scaling, render, scaling

ROOT = Path(__file__).parents[3]
RAMP = json.loads((ROOT / "bench/results/scaling_ramp.json").read_text(encoding="utf-8"))
PHASES = RAMP["phases"]
FULL = max(PHASES, key=lambda phase: phase["factor"])
WINDOW = 60.0
EVERY = 15  # seconds between evaluations of the rules


@pytest.fixture(scope="module")
def chart(tool: Callable[[str], str]) -> Scaling:
    """What the chart renders for scaling, for the very release whose load was recorded."""
    return scaling(helm=tool("helm"))


@pytest.fixture(scope="module")
def groups(tool: Callable[[str], str]) -> list[dict[str, Any]]:
    """The rules of a release that an HPA scales, and so those too that its measures are."""
    rendered = render("autoscaling.kind=hpa", "monitoring.rules.enabled=true", helm=tool("helm"))
    (found,) = (one for one in rendered if one["kind"] == "PrometheusRule")
    return list(found["spec"]["groups"])


@pytest.fixture
def holds(
    groups: list[dict[str, Any]], promtool: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> Callable[[str, float], None]:
    """Asserts that a comparison is true at a second of the ramp, where promtool evaluates it with the chart's rules."""

    def look(comparison: str, at: float) -> None:
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
        test = {
            "interval": RAMP["interval"],
            "input_series": RAMP["input_series"],
            "promql_expr_test": [
                {
                    "expr": f"count({comparison}) > bool 0 or vector(0)",
                    "eval_time": f"{round(at)}s",
                    "exp_samples": [{"labels": "{}", "value": 1}],
                }
            ],
        }
        whole = {
            "rule_files": ["rules.yaml"],
            "evaluation_interval": f"{EVERY}s",
            "group_eval_order": [group["name"] for group in groups],
            "tests": [test],
        }
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(whole))
        done = promtool("test", "rules", tmp_path / "test.yaml")
        assert done.returncode == 0, done.stdout

    return look


def known(phase: dict[str, Any]) -> float:
    """The first moment when all that a rate looks back at is of the phase."""
    moment = float(phase["begin"]) + WINDOW + 10
    assert moment < phase["end"]
    return moment


@pytest.mark.parametrize("phase", PHASES, ids=[f"{phase['begin']:.0f} s: {phase['factor']:g}" for phase in PHASES])
def test_keda_asks_for_what_was_offered(
    phase: dict[str, Any], chart: Scaling, holds: Callable[[str, float], None]
) -> None:
    (trigger,) = chart.triggers
    share = phase["offered"] / RAMP["capacity"]
    holds(f"abs(({trigger.query}) - {share}) < {max(0.1, 0.25 * share)}", known(phase))


def test_hpa_reads_of_the_rule_what_keda_asks(chart: Scaling, holds: Callable[[str, float], None]) -> None:
    (trigger,) = chart.triggers
    evaluated = known(FULL) // EVERY * EVERY
    holds(f"abs(max(lapis:demand:replicas) - ({trigger.query})) < 0.001", evaluated)


def test_busy_lanes_alone_would_not_have_told_of_more_than_one_replica(holds: Callable[[str, float], None]) -> None:
    holds("sum(rate(lapis_engine_busy_seconds_total[60s])) / sum(lapis_engine_lanes) < 1.05", known(FULL))


@pytest.mark.parametrize("alert", ["LapisOverloaded", "LapisQueueSlow"])
def test_overload_calls_somebody(alert: str, holds: Callable[[str, float], None]) -> None:
    holds(f'ALERTS{{alertname="{alert}",alertstate="firing"}}', FULL["end"] - 5)


def test_nobody_is_called_while_the_load_can_be_borne(holds: Callable[[str, float], None]) -> None:
    bearable = [phase for phase in PHASES[: PHASES.index(FULL)] if phase["factor"] <= 0.5]
    for phase in bearable:
        holds('absent(ALERTS{alertstate="firing"})', known(phase))
