"""The dashboard: fresh, whole, readable, and one for each release."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

sdk = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="grafana-foundation-sdk is not installed")

ROOT = Path(__file__).parents[3]
SHOWN = {"monitoring": {"dashboard": {"enabled": True}}}
UNITS = {"reqps", "percentunit", "s", "bytes", "none", "short", "watt", "celsius"}


@pytest.fixture
def release(render: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Renders the dashboard of a release."""

    def show(**release: str) -> dict[str, Any]:
        (text,) = render(SHOWN, **release)["ConfigMap"]["data"].values()
        shown: dict[str, Any] = json.loads(text)
        return shown

    return show


@pytest.fixture
def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_committed_dashboard_is_what_its_source_gives() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.dashboard", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_grafana_s_own_types_read_it(dashboard: dict[str, Any]) -> None:
    read = sdk.Dashboard.from_json(dashboard)
    assert read.title == "Lapis"
    assert len(read.panels) == len(dashboard["panels"])


def test_every_panel_says_what_it_shows_and_in_what_unit(panels: list[dict[str, Any]]) -> None:
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        unit = (
            panel["options"]["yAxis"]["unit"]
            if panel["type"] == "heatmap"
            else panel["fieldConfig"]["defaults"]["unit"]
        )
        assert unit in UNITS, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]


def test_panels_stand_side_by_side_and_none_over_another(dashboard: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_what_looks_over_the_time_shown_is_asked_once(dashboard: dict[str, Any]) -> None:
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    ranging = [target for target in targets if "$__range" in target["expr"]]
    assert ranging
    assert all(target["instant"] and not target["range"] for target in ranging)


def test_no_replicas_are_shown_as_0_and_in_red(panels: list[dict[str, Any]]) -> None:
    (replicas,) = (panel for panel in panels if panel["title"] == "Replicas")
    assert replicas["targets"][0]["expr"].endswith("or vector(0)")
    steps = replicas["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in steps] == [(None, "red"), (1, "green")]


def test_queries_use_the_variables_that_there_are(dashboard: dict[str, Any]) -> None:
    text = json.dumps(dashboard)
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    assert variables == {"datasource", "namespace", "job", "model", "version"}
    assert all(f"${name}" in text or f"${{{name}}}" in text for name in variables)


def test_releases_have_dashboards_of_their_own(release: Callable[..., dict[str, Any]]) -> None:
    shown = [release(), release(release="portraits"), release(namespace="lab")]
    assert len({one["uid"] for one in shown}) == len(shown)
    assert len({one["title"] for one in shown}) == len(shown)
    assert all(8 <= len(one["uid"]) <= 40 for one in shown), "what Grafana takes as a uid"
    assert release() == release(), "an upgrade keeps the uid, and with it everybody's links"


def test_dashboard_opens_on_its_release(release: Callable[..., dict[str, Any]]) -> None:
    chosen = {
        one["name"]: one["current"]["value"]
        for one in release(namespace="lab")["templating"]["list"]
        if "current" in one
    }
    assert chosen == {"namespace": "lab", "job": "pictures-lapis"}


def test_sidecar_finds_it(render: Callable[..., dict[str, Any]]) -> None:
    annotations = {"grafana_folder": "Lapis"}
    config = render({"monitoring": {"dashboard": {"enabled": True, "annotations": annotations}}})["ConfigMap"]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"] == annotations
    assert list(config["data"]) == ["studio-pictures-lapis.json"], "files of several releases lie in one folder"
    assert len(json.dumps(config)) < 500_000, "a ConfigMap holds a megabyte"
