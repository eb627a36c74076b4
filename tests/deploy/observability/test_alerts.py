"""Each alert fires when it must, with the words that it should, and stays silent when it must not.

The cases are in `alerts/*.yaml`: series by the minute (promtool's notation, where the labels that every series has go
without saying), a time to look, and who is to be called then.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
CASES = [case for path in sorted(HERE.glob("alerts/*.yaml")) for case in yaml.safe_load(path.read_text())]

RELEASE = {"namespace": "studio", "job": "pictures-lapis"}
REPLICA = {"pod": "a", "instance": "a:8080", "track": "stable"}
SERIES = {"model": "m", "version": "1", "method": "Translate"}


def title(case: dict[str, Any]) -> str:
    return f"{case['alert']}: {case['when']}"


@pytest.mark.parametrize("case", CASES, ids=title)
def test_alert(
    case: dict[str, Any],
    rules: Callable[..., dict[str, Any]],
    promtool: Callable[..., subprocess.CompletedProcess[str]],
    told: dict[str, set[str]],
    tmp_path: Path,
) -> None:
    rendered = rules(case.get("values", {}))
    needed = [group for group in rendered["groups"] if group["name"] == "lapis-recording" or has(group, case["alert"])]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": needed}))
    look = {"alertname": case["alert"], "eval_time": case["at"], "exp_alerts": expected(case, rendered)}
    test = {
        "interval": "1m",
        "input_series": [
            {"series": notation(one, told), "values": values}
            for series in case.get("series", ())
            for one, values in series.items()
        ],
        "alert_rule_test": [look],
    }
    whole = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": case.get("every", "1m"),
        "group_eval_order": [group["name"] for group in needed],
        "tests": [test],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(whole))
    done = promtool("test", "rules", tmp_path / "test.yaml")
    assert done.returncode == 0, done.stdout


def expected(case: dict[str, Any], rendered: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the alerts of a case with all that promtool wants to hear of them."""
    return [
        {
            "exp_labels": known({**RELEASE, "severity": call["severity"], **call.get("labels", {})}),
            "exp_annotations": {
                **{name: text for name, text in rule["annotations"].items() if name != "description"},
                "description": call["says"],
            },
        }
        for call in case["calls"]
        for rule in [named(rendered, case["alert"], call["severity"])]
    ]


def has(group: dict[str, Any], alert: str) -> bool:
    return any(rule.get("alert") == alert for rule in group["rules"])


def known(labels: dict[str, str | None]) -> dict[str, str]:
    """Returns labels without those that are said not to be there."""
    return {label: value for label, value in labels.items() if value is not None}


def named(rendered: dict[str, Any], alert: str, severity: str) -> dict[str, Any]:
    rule: dict[str, Any]
    (rule,) = (
        rule
        for group in rendered["groups"]
        for rule in group["rules"]
        if rule.get("alert") == alert and rule["labels"]["severity"] == severity
    )
    return rule


def notation(series: str, told: dict[str, set[str]]) -> str:
    """Writes a series with the labels that go without saying."""
    name, braces = series.split("{", 1)
    own = {label: value for label, value in SERIES.items() if label in told.get(name, ())}
    foreign = name.startswith(("kube_", "keda_", "certmanager_"))
    labels = own if foreign else {**RELEASE, **REPLICA, **own}
    given = dict(part.split("=", 1) for part in braces.rstrip("}").split(",") if part)
    labels |= {label: value.strip('"') for label, value in given.items()}
    inner = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inner}}}"


def test_every_alert_is_seen_to_fire_and_to_be_silent(every_rule: list[dict[str, Any]]) -> None:
    alerts = {(rule["alert"], rule["labels"]["severity"]) for rule in every_rule if "alert" in rule}
    fires = {(case["alert"], call["severity"]) for case in CASES for call in case["calls"]}
    silent = {case["alert"] for case in CASES if not case["calls"]}
    assert fires == alerts
    assert silent == {alert for alert, _ in alerts}
