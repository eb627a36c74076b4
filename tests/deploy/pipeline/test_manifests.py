"""The manifests are what Argo and Kubernetes take, and hang together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hera.workflows.models import WorkflowTemplate

if TYPE_CHECKING:
    from conftest import Release

PIPELINE = Path(__file__).parents[3] / "deploy" / "pipeline"
ARGO_CD = "@kubernetes-models/argo-cd"
CHECK = f"""
import {{ Application }} from "{ARGO_CD}/argoproj.io/v1alpha1";
let text = "";
for await (const chunk of process.stdin) text += chunk;
new Application(JSON.parse(text)).validate();
"""


def lost(given: object, kept: Any, path: str = "") -> list[str]:  # noqa: ANN401 (JSON of any form)
    """Returns the paths of what a model did not take over: fields that it does not know."""
    if isinstance(given, dict):
        return [
            found
            for key, value in given.items()
            for found in (lost(value, kept[key], f"{path}/{key}") if key in kept else [f"{path}/{key}"])
        ]
    if isinstance(given, list):
        return [found for number, one in enumerate(given) for found in lost(one, kept[number], f"{path}/{number}")]
    return []


def test_argo_workflows_knows_every_field(release: Release) -> None:
    template = WorkflowTemplate.model_validate(release.manifest)
    assert lost(release.manifest, template.model_dump(by_alias=True, exclude_none=True, mode="json")) == []


def test_an_unknown_field_would_be_seen(release: Release) -> None:
    manifest = release.manifest | {"spec": release.manifest["spec"] | {"entrypiont": "release"}}
    template = WorkflowTemplate.model_validate(manifest)
    assert lost(manifest, template.model_dump(by_alias=True, exclude_none=True, mode="json")) == ["/spec/entrypiont"]


@pytest.mark.slow
def test_argo_cd_knows_every_field(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("no node and npm here")
    command = [npm, "install", "--silent", "--force", "--no-audit", "--no-fund", f"{ARGO_CD}@4.0.0"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip(f"{ARGO_CD} cannot be installed here")
    (tmp_path / "check.mjs").write_text(CHECK)
    application = yaml.safe_load((PIPELINE / "argo" / "application.yaml").read_text())

    def check(manifest: dict[str, Any]) -> str:
        content = json.dumps(manifest)
        return subprocess.run(
            [node, "check.mjs"], cwd=tmp_path, input=content, capture_output=True, text=True, check=False
        ).stderr

    assert check(application) == ""
    del application["spec"]["destination"]
    assert "destination" in check(application)


def test_what_is_referred_to_is_there(release: Release) -> None:
    spec = release.manifest["spec"]
    steps = [step for one in spec["templates"] for group in one.get("steps", []) for step in group]
    names = {one["name"] for one in spec["templates"]}
    assert {step["template"] for step in steps} | {spec["entrypoint"], spec["onExit"]} <= names
    referred = set(re.findall(r"\{\{(workflow\.parameters\.[\w-]+)\}\}", json.dumps(spec)))
    assert referred == set(release.parameters)
    volumes = {one["name"] for one in spec["volumes"]} | {
        one["metadata"]["name"] for one in spec["volumeClaimTemplates"]
    }
    mounted = {mount["name"] for one in spec["templates"] for mount in one.get("script", {}).get("volumeMounts", [])}
    assert mounted == volumes


def test_every_step_is_given_what_it_asks_for(release: Release) -> None:
    templates = {one["name"]: one for one in release.manifest["spec"]["templates"]}
    for template in templates.values():
        for step in (step for group in template.get("steps", []) for step in group):
            asked = templates[step["template"]].get("inputs", {}).get("parameters", [])
            given = {one["name"] for one in step.get("arguments", {}).get("parameters", [])}
            assert {one["name"] for one in asked if "value" not in one} <= given <= {one["name"] for one in asked}


def test_no_step_may_do_more_than_it_needs(release: Release) -> None:
    spec = release.manifest["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    for script in (one["script"] for one in spec["templates"] if "script" in one):
        assert script["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert "memory" in script["resources"]["limits"]
        assert not script["image"].endswith(":latest")


def test_the_application_reads_what_releases_write(release: Release) -> None:
    application = yaml.safe_load((PIPELINE / "argo" / "application.yaml").read_text())
    chart, config = application["spec"]["sources"]
    folder = release.parameters["workflow.parameters.folder"]
    order = [f"${config['ref']}/{folder}/{name}.yaml" for name in ("values", "model", "canary")]
    assert chart["helm"]["valueFiles"] == order
    assert config["repoURL"] == release.parameters["workflow.parameters.config"]
    assert config["targetRevision"] == release.parameters["workflow.parameters.branch"]
    assert {path.stem for path in (PIPELINE / "config" / folder).iterdir()} == {"values", "model", "canary"}
    job = f'namespace="{application["spec"]["destination"]["namespace"]}",job="{chart["helm"]["releaseName"]}"'
    assert release.parameters["workflow.parameters.selector"] == job
