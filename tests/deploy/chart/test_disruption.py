"""Evictions: how many replicas they may take, and that they can always go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


KEDA = {"kind": "keda", "keda": {"prometheus": "http://prometheus:9090"}}


def test_one_replica_at_a_time_is_taken(render: Callable[..., Any]) -> None:
    objects = render({"replicas": 3})

    spec = objects.one("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["selector"] == objects.one("Deployment")["spec"]["selector"]


def test_what_is_broken_holds_up_no_drain(render: Callable[..., Any]) -> None:
    assert render().one("PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(
    "values",
    [
        {"podDisruptionBudget": {"enabled": False}},
        {"replicas": 1},
        {"autoscaling": {**KEDA, "minReplicas": 1, "maxReplicas": 1}},
    ],
)
def test_a_single_replica_needs_no_budget(render: Callable[..., Any], values: dict[str, Any]) -> None:
    assert "PodDisruptionBudget" not in render(values).kinds


def test_the_canary_has_a_budget_of_its_own(render: Callable[..., Any]) -> None:
    objects = render({"canary": {"enabled": True, "replicas": 2}})

    budget = objects.one("PodDisruptionBudget", "-canary")
    assert budget["spec"]["selector"] == objects.one("Deployment", "-canary")["spec"]["selector"]
    assert len(render({"canary": {"enabled": True}}).of("PodDisruptionBudget")) == 1


@pytest.mark.parametrize("bound", [0, "0%"])
def test_a_budget_that_lets_nothing_go_is_refused(refusal: Callable[..., str], bound: object) -> None:
    assert "podDisruptionBudget.maxUnavailable" in refusal({"podDisruptionBudget": {"maxUnavailable": bound}})
