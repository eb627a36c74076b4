"""The rules as the chart renders them: valid, of this release alone, and refused where they could not work."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import ServeSettings
from service.telemetry.instruments import _SECONDS

WATCHED = {"monitoring": {"rules": {"enabled": True}}}
# Series of other programs, which know the release by its namespace and by what an object is called.
FOREIGN = ("kube_", "keda_", "certmanager_")


def alerts(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in spec["groups"] for rule in group["rules"] if "alert" in rule]


def expression(spec: dict[str, Any], name: str) -> str:
    (found,) = {
        rule["expr"]
        for group in spec["groups"]
        for rule in group["rules"]
        if name in {rule.get("alert"), rule.get("record")}
    }
    return str(found)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"accelerator": {"kind": "gpu"}, "canary": {"enabled": True}, "autoscaling": {"kind": "hpa"}},
        {
            "accelerator": {"kind": "shared", "tensorrt": {"enabled": True}},
            "autoscaling": {"kind": "keda", "keda": {"prometheus": "http://prometheus:9090"}},
        },
        {"tls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}},
        {"monitoring": {"rules": {"latencySeconds": 0.0004, "availability": 0.95}}},
        {"monitoring": {"rules": {"latencySeconds": 29.5, "availability": 0.99999}}},
    ],
    ids=str,
)
def test_promtool_finds_nothing_to_say(
    values: dict[str, Any],
    rules: Callable[..., dict[str, Any]],
    promtool: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules(values)))
    done = promtool("check", "rules", "--lint-fatal", path)
    assert done.returncode == 0, done.stdout


def test_every_series_is_of_this_release(
    every_rule: list[dict[str, Any]], selectors: Callable[[str], list[Any]]
) -> None:
    for rule in every_rule:
        found = selectors(rule["expr"])
        assert found or rule["expr"].startswith("vector("), rule
        for name, matchers in found:
            if name.startswith(FOREIGN):
                assert "studio" in {matchers.get("namespace"), matchers.get("exported_namespace")}, rule
                assert any("pictures-lapis" in value for value in matchers.values()), rule
            else:
                assert matchers["namespace"] == "studio", rule
                assert matchers["job"] == "pictures-lapis", rule


def test_every_alert_names_the_release(every_rule: list[dict[str, Any]]) -> None:
    """By labels of its own where it is made of others' series: so it is shown with the release's panels, and routed."""
    for alert in (rule for rule in every_rule if "alert" in rule):
        if any(name in alert["expr"] for name in FOREIGN):
            assert alert["labels"]["job"] == "pictures-lapis", alert


def test_recordings_keep_the_release(every_rule: list[dict[str, Any]]) -> None:
    assert all(rule["record"].startswith("lapis:") for rule in every_rule if "record" in rule)
    for rule in every_rule:
        given = set(rule.get("labels", {}))
        for by in rule["expr"].split(" by (")[1:]:
            assert {"namespace", "job"} <= given | set(by.split(")")[0].replace(" ", "").split(",")), rule


def test_alert_tells_how_grave_it_is_and_where_to_read_on(every_rule: list[dict[str, Any]]) -> None:
    for alert in (rule for rule in every_rule if "alert" in rule):
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"].endswith(f"runbooks.md#{alert['alert'].lower()}")


def test_runbooks_may_be_elsewhere(rules: Callable[..., dict[str, Any]]) -> None:
    spec = rules({"monitoring": {"rules": {"runbooks": "https://wiki.example.com/lapis"}}})
    urls = [alert["annotations"]["runbook_url"] for alert in alerts(spec)]
    assert "https://wiki.example.com/lapis#lapisdown" in urls


def test_disabled_alerts_are_left_out_and_no_others(rules: Callable[..., dict[str, Any]]) -> None:
    every = {alert["alert"] for alert in alerts(rules({}))}
    off = ["LapisErrorBudgetBurn", "LapisLatencyBudgetBurn"]
    spec = rules({"monitoring": {"rules": {"disabled": off}}})
    assert {alert["alert"] for alert in alerts(spec)} == every - set(off)
    assert "lapis-objectives" not in {group["name"] for group in spec["groups"]}, "no group is empty"


def test_prometheus_finds_the_rules_by_the_labels_that_monitors_have(render: Callable[..., dict[str, Any]]) -> None:
    rule = render({"monitoring": {"rules": {"enabled": True}, "labels": {"release": "kube-prometheus"}}})[
        "PrometheusRule"
    ]
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus"
    assert rule["metadata"]["name"] == "pictures-lapis"


def test_nothing_is_rendered_unless_asked_for(render: Callable[..., dict[str, Any]]) -> None:
    assert render({}) == {}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"latencySeconds": 31}, "'/monitoring/rules/latencySeconds': maximum: got 31, want 30"),
        ({"latencySeconds": 0}, "latencySeconds"),
        ({"availability": 0.9}, "'/monitoring/rules/availability': minimum: got 0.9, want 0.95"),
        ({"availability": 1}, "availability"),
        (
            {"disabled": ["LapisDwon"]},
            "monitoring.rules.disabled: there is no alert LapisDwon; there are LapisAutoscaler",
        ),
    ],
    ids=str,
)
def test_what_could_not_work_is_refused(
    rule: dict[str, Any], said: str, template: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = template({"monitoring": {"rules": {"enabled": True, **rule}}})
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize("bound", _SECONDS)
def test_objective_on_a_bound_is_counted_and_not_guessed(bound: float, rules: Callable[..., dict[str, Any]]) -> None:
    slow = expression(rules({"monitoring": {"rules": {"latencySeconds": bound}}}), "lapis:slow:rate5m")
    assert f'le="{bound}"' in slow
    assert slow.count("le=") == 1
    assert "*" not in slow


def test_kserve_s_deployments_are_known_by_kserve_s_names(rules: Callable[..., dict[str, Any]]) -> None:
    predictor = rules({"kserve": {"kind": "inferenceService"}})
    assert 'deployment=~"pictures-lapis-predictor"' in expression(predictor, "LapisRolloutStuck")
    nameless = {alert["alert"] for alert in alerts(rules({"kserve": {"kind": "servingRuntime"}}))}
    assert "LapisDown" in nameless
    assert nameless.isdisjoint({"LapisReplicasMissing", "LapisRolloutStuck"})


def test_canary_that_has_no_replicas_is_not_missed(rules: Callable[..., dict[str, Any]]) -> None:
    none, one = (rules({"canary": {"enabled": True, "replicas": count}}) for count in (0, 1))
    assert 'track=~"stable"' in expression(none, "LapisDown")
    assert 'track=~"stable|canary"' in expression(one, "LapisDown")


def test_objective_between_bounds_is_interpolated(rules: Callable[..., dict[str, Any]]) -> None:
    slow = expression(rules({"monitoring": {"rules": {"latencySeconds": 4}}}), "lapis:slow:rate5m")
    assert slow.index("(1 - 0.6)") < slow.index('le="2.5"') < slow.index("0.6 * ") < slow.index('le="5.0"')


def test_bounds_are_the_service_s_own(rules: Callable[..., dict[str, Any]]) -> None:
    full = expression(rules({}), "LapisQueueNearFull")
    own = ServeSettings.model_fields
    for name in ("max_queue", "max_queue_bytes", "max_total_queue", "max_total_queue_bytes"):
        assert f" / {own[name].default} > 0.8" in full


def test_bounds_are_those_that_were_set(rules: Callable[..., dict[str, Any]]) -> None:
    full = expression(
        rules({"settings": {"max_queue": 10, "max_total_queue_bytes": 536870912000}}), "LapisQueueNearFull"
    )
    assert "/ 10 > 0.8" in full
    assert "/ 536870912000 > 0.8" in full
