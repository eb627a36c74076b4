"""What scales the replicas, and how Prometheus comes to know them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.telemetry.instruments import Instruments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ADAPTER = Path(__file__).parents[3] / "deploy" / "prometheus-adapter.yaml"
KEDA = {"kind": "keda", "keda": {"prometheus": "http://prometheus:9090"}}
BOTH = {**KEDA, "queue": {"target": 0.25}}
HPA = {"autoscaling": {"kind": "hpa"}, "monitoring": {"monitor": "pod", "rules": {"enabled": True}}}


def triggers(objects: Any) -> list[Any]:  # noqa: ANN401
    return [trigger["metadata"] for trigger in objects.one("ScaledObject")["spec"]["triggers"]]


def test_nothing_scales_by_itself_and_replicas_are_said(render: Callable[..., Any]) -> None:
    objects = render({"replicas": 3})
    assert not {"HorizontalPodAutoscaler", "ScaledObject"} & objects.kinds
    assert objects.one("Deployment")["spec"]["replicas"] == 3


@pytest.mark.parametrize("values", [{"autoscaling": KEDA}, HPA])
def test_whatever_scales_decides_alone_on_the_replicas(render: Callable[..., Any], values: Mapping[str, Any]) -> None:
    assert "replicas" not in render(values).one("Deployment")["spec"]


def test_both_ways_of_scaling_move_alike_between_the_same_bounds(render: Callable[..., Any]) -> None:
    bounds = {"minReplicas": 3, "maxReplicas": 30, "scaleUpWindow": 30, "scaleDownWindow": 600}
    hpa = render({**HPA, "autoscaling": {**HPA["autoscaling"], **bounds}}).one("HorizontalPodAutoscaler")["spec"]
    scaled = render({"autoscaling": {**KEDA, **bounds}}).one("ScaledObject")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (3, 30)
    behaviour = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert hpa["behavior"] == behaviour
    windows = [behaviour[way]["stabilizationWindowSeconds"] for way in ("scaleUp", "scaleDown")]
    assert windows == [30, 600]


def test_measures_are_those_with_a_target(render: Callable[..., Any]) -> None:
    assert [one["threshold"] for one in triggers(render({"autoscaling": BOTH}))] == ["0.7", "0.25"]
    only_queue = {**BOTH, "busy": {"target": 0}}
    (queue,) = triggers(render({"autoscaling": only_queue}))
    assert "histogram_quantile" in queue["query"]
    metrics = render({**HPA, "autoscaling": {"kind": "hpa", "queue": {"target": 0.25}}}).one("HorizontalPodAutoscaler")
    targets = [one["external"]["target"] for one in metrics["spec"]["metrics"]]
    assert targets == [{"type": "AverageValue", "averageValue": "700m"}, {"type": "Value", "value": "250m"}]


def test_nothing_is_changed_while_prometheus_cannot_be_asked(render: Callable[..., Any]) -> None:
    spec = render({"autoscaling": KEDA}).one("ScaledObject")["spec"]
    assert "fallback" not in spec
    assert all(one["ignoreNullValues"] == "false" for one in triggers(render({"autoscaling": BOTH})))
    chosen = {**KEDA, "keda": {**KEDA["keda"], "fallbackReplicas": 6}}
    fallback = render({"autoscaling": chosen}).one("ScaledObject")["spec"]["fallback"]
    assert (fallback["replicas"], fallback["behavior"]) == (6, "currentReplicasIfHigher")


def test_promql_asks_for_what_the_service_tells_of_this_release(
    render: Callable[..., Any], tool: Callable[[str], str], tmp_path: Path
) -> None:
    queries = [one["query"] for one in triggers(render({"autoscaling": BOTH}))]
    Instruments(registry := CollectorRegistry())
    endings = ("", "_total", "_sum", "_bucket")
    known = {f"{family.name}{ending}" for family in registry.collect() for ending in endings}
    for query in queries:
        selectors = re.findall(r"(lapis_\w+)\{([^}]*)\}", query)
        assert selectors
        assert {name for name, _ in selectors} <= known
        assert all('namespace="studio",job="pictures-lapis",track="stable"' in labels for _, labels in selectors)
    rules = {"groups": [{"name": "x", "rules": [{"record": "x", "expr": query} for query in queries]}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    checked = subprocess.run(
        [tool("promtool"), "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_adapter_exposes_the_measures_that_the_hpa_asks_for(render: Callable[..., Any]) -> None:
    queue = {"autoscaling": {"kind": "hpa", "queue": {"target": 0.25}}}
    objects = render({**HPA, **queue})
    groups = {group["name"]: group["rules"] for group in objects.one("PrometheusRule")["spec"]["groups"]}
    records = {rule["record"]: rule for rule in groups["lapis-scaling"]}
    asked = [one["external"]["metric"] for one in objects.one("HorizontalPodAutoscaler")["spec"]["metrics"]]
    adapter = yaml.safe_load(ADAPTER.read_text(encoding="utf-8"))["rules"]["external"]
    exposed = {rule["name"]["as"]: rule["seriesQuery"] for rule in adapter}
    assert {exposed[one["name"]] for one in asked} == set(records)
    assert all(one["selector"]["matchLabels"]["job"] == records[exposed[one["name"]]]["labels"]["job"] for one in asked)
    keda = triggers(render({"autoscaling": BOTH}))
    assert [rule["expr"].split() for rule in records.values()] == [one["query"].split() for one in keda]


DEMAND = """
rule_files: [rules.yaml]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - {series: 'lapis_engine_lanes{LABELS,pod="a"}', values: '2x40'}
      - {series: 'lapis_engine_work_seconds_total{LABELS,pod="a",model="m",version="1"}', values: '0+15x40'}
      - {series: 'lapis_unmet_work_seconds_total{LABELS,pod="a",model="m",version="1"}', values: '0+60x40'}
      - {series: 'lapis_engine_lanes{LABELS,pod="b"}', values: '0x20 2x20'}
      - {series: 'lapis_engine_work_seconds_total{LABELS,pod="b",model="m",version="1"}', values: '0x20 0+15x20'}
      - {series: 'lapis_unmet_work_seconds_total{LABELS,pod="b",model="m",version="1"}', values: '0x40'}
      - {series: 'lapis_engine_lanes{OTHERS,pod="c"}', values: '2x40'}
      - {series: 'lapis_engine_work_seconds_total{OTHERS,pod="c",model="m",version="1"}', values: '0+30x40'}
      - {series: 'lapis_engine_lanes{LOADING,pod="d"}', values: '0x40'}
      - {series: 'lapis_engine_work_seconds_total{LOADING,pod="d"}', values: '0x40'}
      - {series: 'lapis_unmet_work_seconds_total{LOADING,pod="d"}', values: '0x40'}
    promql_expr_test:
      - {expr: 'DEMAND', eval_time: 4m, exp_samples: [{labels: '{}', value: 2.5}]}
      - {expr: 'DEMAND', eval_time: 9m, exp_samples: [{labels: '{}', value: 3}]}
      - {expr: 'NOTHING', eval_time: 4m}
"""


def test_demand_counts_what_was_done_and_what_there_was_no_room_for(
    render: Callable[..., Any], tool: Callable[[str], str], tmp_path: Path
) -> None:
    """A replica that loads makes the others look no smaller, and alone says nothing; others' work is not counted."""
    query = " ".join(triggers(render({"autoscaling": BOTH}))[0]["query"].split())
    stable = 'namespace="studio",job="pictures-lapis",track="stable"'
    loading = stable.replace("studio", "elsewhere")
    filled = DEMAND.replace("NOTHING", query.replace(stable, loading)).replace("DEMAND", query)
    filled = filled.replace("LABELS", stable).replace("OTHERS", stable.replace("stable", "canary"))
    (tmp_path / "tests.yaml").write_text(filled.replace("LOADING", loading))
    (tmp_path / "rules.yaml").write_text("groups: []\n")
    ran = subprocess.run(
        [tool("promtool"), "test", "rules", tmp_path / "tests.yaml"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_rates_look_back_over_four_scrapes_at_least(render: Callable[..., Any]) -> None:
    values = {"autoscaling": BOTH, "monitoring": {"monitor": "pod", "interval": 30}}
    assert all("[120s]" in one["query"] for one in triggers(render(values)))


@pytest.mark.parametrize(
    ("monitor", "kind", "endpoints"),
    [("pod", "PodMonitor", "podMetricsEndpoints"), ("service", "ServiceMonitor", "endpoints")],
)
def test_monitor_gives_the_labels_that_rules_and_scaling_ask_for(
    render: Callable[..., Any], monitor: str, kind: str, endpoints: str
) -> None:
    objects = render({"monitoring": {"monitor": monitor, "interval": 5, "labels": {"release": "prometheus"}}})
    made = objects.one(kind)
    (endpoint,) = made["spec"][endpoints]
    assert {one["targetLabel"]: one.get("replacement") for one in endpoint["relabelings"]} == {
        "job": "pictures-lapis",
        "track": None,
    }
    assert (endpoint["port"], endpoint["path"], endpoint["interval"]) == ("http", "/metrics", "5s")
    assert made["metadata"]["labels"]["release"] == "prometheus"
    assert not {"PodMonitor", "ServiceMonitor"} & render().kinds


def test_service_monitor_scrapes_each_replica_once(render: Callable[..., Any]) -> None:
    objects = render({"monitoring": {"monitor": "service"}, "canary": {"enabled": True, "image": {"tag": "2"}}})
    selector = objects.one("ServiceMonitor")["spec"]["selector"]
    exist = {one["key"] for one in selector["matchExpressions"]}
    chosen = [
        service["metadata"]["name"]
        for service in objects.of("Service")
        if selector["matchLabels"].items() <= service["metadata"]["labels"].items()
        and exist <= set(service["metadata"]["labels"])
    ]
    assert sorted(chosen) == ["pictures-lapis", "pictures-lapis-canary"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"autoscaling": {"kind": "keda"}}, "autoscaling.keda.prometheus"),
        ({"autoscaling": {"kind": "hpa"}}, "monitoring.rules.enabled"),
        ({"autoscaling": {**KEDA, "minReplicas": 9, "maxReplicas": 3}}, "9 is more than"),
        ({"autoscaling": {**KEDA, "busy": {"target": 0}}}, "nothing to scale by"),
        ({"autoscaling": {**KEDA, "busy": {"target": "1.5"}}}, "1.5 is more than 1"),
        ({"autoscaling": {**KEDA, "keda": {**KEDA["keda"], "authModes": "bearer"}}}, "autoscaling.keda.authentication"),
    ],
)
def test_scaling_that_cannot_work_is_refused(refusal: Callable[..., str], values: Mapping[str, Any], told: str) -> None:
    assert told in refusal(values)
