"""Others' tools over what the chart renders: checkov's rules, and kubectl's own reading of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.deploy.chart.conftest import CHART

Objects: TypeAlias = Any

CONFIG = CHART.parent / "checkov.yaml"
LOOKED_AT = ("plain", "profile gpu", "all of its own")


@pytest.fixture(scope="module")
def checked(
    rendered: Callable[[str], dict[str, Objects]], tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What checkov says of three renderings, and of one that is made worse."""
    folder = tmp_path_factory.mktemp("rendered")
    for name in LOOKED_AT:
        (folder / f"{name.replace(' ', '-')}.yaml").write_text(rendered(name)["1.33"].text)
    worse = rendered("plain")["1.33"].text.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
    (folder / "worse.yaml").write_text(worse)
    command = [tool("checkov"), "--directory", str(folder), "--config-file", str(CONFIG), "--output", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def failed(report: dict[str, Any], *, worse: bool) -> list[str]:
    checks = report["results"]["failed_checks"]
    return [
        f"{check['file_path']} {check['resource']}: {check['check_id']} {check['check_name']}"
        for check in checks
        if (check["file_path"] == "/worse.yaml") is worse
    ]


def test_checkov_finds_nothing_but_what_is_skipped_for_a_reason(checked: dict[str, Any]) -> None:
    assert checked["summary"]["passed"] > 300
    assert not failed(checked, worse=False)


def test_checkov_would_find_something(checked: dict[str, Any]) -> None:
    assert any("CKV_K8S_22" in line for line in failed(checked, worse=True))


def test_every_skipped_check_has_its_reason() -> None:
    lines = CONFIG.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith("- CKV"):
            assert lines[number - 1].strip().startswith(("#", "- CKV"))


@pytest.mark.parametrize("name", LOOKED_AT)
def test_kubectl_reads_it(
    rendered: Callable[[str], dict[str, Objects]], tool: Callable[[str], str], name: str, tmp_path: Path
) -> None:
    """kustomize, which GitOps goes through, refuses keys and objects that stand twice."""
    objects = rendered(name)["1.33"]
    (tmp_path / "all.yaml").write_text(objects.text)
    (tmp_path / "kustomization.yaml").write_text("resources: [all.yaml]\nnamespace: studio\n")

    ran = subprocess.run([tool("kubectl"), "kustomize", tmp_path], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("\nkind: ") == len(objects.all)
