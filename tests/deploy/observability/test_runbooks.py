"""Whoever is called finds what to do."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
RUNBOOKS = (ROOT / "deploy/runbooks.md").read_text()
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```", RUNBOOKS, re.MULTILINE | re.DOTALL)).splitlines()
PARTS = ["What it means.", "What callers see.", "How to look.", "What to do.", "How it ends."]
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOKS, re.MULTILINE | re.DOTALL))


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(every_rule: list[dict[str, Any]]) -> None:
    assert set(SECTIONS) == {rule["alert"] for rule in every_rule if "alert" in rule}


def test_every_runbook_says_all_that_is_wanted() -> None:
    for alert, text in SECTIONS.items():
        assert re.findall(r"\*\*(.*?)\*\*", text) == PARTS, alert
        look = text.split("**How to look.**")[1].split("**What to do.**")[0]
        assert "```" in look, f"{alert}: there is no command and no query to look with"


def test_commands_say_all_that_they_could() -> None:
    """By a label, `logs` gives ten lines of a pod; `get` of several kinds gives nothing where one is not known."""
    for line in COMMANDS:
        if " logs " in line and " -l " in line:
            assert "--tail=-1" in line, line
        assert "scaledobject" not in line or "," not in line.split("scaledobject")[0], line


def test_port_is_there_before_it_is_asked() -> None:
    for forward, ask in pairwise(COMMANDS):
        if "port-forward" in forward:
            assert forward.endswith("&")
            assert ask.startswith("until curl"), ask


def test_links_lead_somewhere() -> None:
    anchors = {alert.lower() for alert in SECTIONS}
    links = re.findall(r"\]\(#([\w-]+)\)", RUNBOOKS)
    assert links
    assert set(links) <= anchors


def test_values_that_are_named_are_there() -> None:
    values = yaml.safe_load((ROOT / "deploy/helm/lapis/values.yaml").read_text())
    for path in re.findall(r"`([a-z]\w+(?:\.[A-Za-z]\w*)+)`", RUNBOOKS):
        group, *rest = path.split(".")
        if group not in values or group in {"settings", "resources", "extra"}:
            continue
        found = values[group]
        for key in rest:
            assert key in found, path
            found = found[key]
