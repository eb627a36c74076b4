"""Whoever switches scaling on keeps the replicas that there are: Helm asks the cluster, which here is its API alone."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[3] / "deploy/helm/lapis"
HPA = {"autoscaling": {"kind": "hpa"}, "monitoring": {"rules": {"enabled": True}}}
LIVE = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "pictures-lapis",
        "namespace": "studio",
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "pictures", "meta.helm.sh/release-namespace": "studio"},
    },
    "spec": {"replicas": 8},
}


def answers(kinds: set[tuple[str, str]]) -> dict[str, Any]:
    """Returns what a cluster that has these kinds, as ("apps/v1", "Deployment"), says to each path."""
    told: dict[str, Any] = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis/apps/v1/namespaces/studio/deployments/pictures-lapis": LIVE,
    }
    groups = []
    for version in sorted({version for version, _ in kinds}):
        resources = [
            {"name": f"{kind.lower()}s", "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]}
            for of, kind in sorted(kinds)
            if of == version
        ]
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        told[path] = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
        if "/" in version:
            one = {"groupVersion": version, "version": version.partition("/")[2]}
            groups.append({"name": version.partition("/")[0], "versions": [one], "preferredVersion": one})
    return told | {"/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}}


@pytest.fixture(scope="module")
def cluster(
    render: Callable[..., Any], answering: Callable[..., contextlib.AbstractContextManager[str]]
) -> Iterator[str]:
    """A cluster's API that has one Deployment, with 8 replicas; its address."""
    known = answers({(one["apiVersion"], one["kind"]) for one in render(HPA).all})
    with answering(lambda path: json.dumps(known[path]) if path in known else None) as address:
        yield f"http://{address}"


@pytest.mark.parametrize("helm", ["4", "3"])
@pytest.mark.parametrize(
    ("release", "values", "replicas"),
    [("pictures", HPA, 8), ("pictures", {"replicas": 3}, 3), ("drawings", HPA, None)],
    ids=["scaled from now on", "not scaled", "not there yet"],
)
def test_replicas_stay_as_they_are(
    ask: Callable[..., dict[str, Any]], release: str, values: dict[str, Any], replicas: int | None, helm: str
) -> None:
    assert ask(release, values, helm)["spec"].get("replicas") == replicas


@pytest.fixture
def ask(run_helm: Callable[..., subprocess.CompletedProcess[str]], cluster: str) -> Callable[..., dict[str, Any]]:
    """Returns the Deployment that Helm would apply to that cluster."""
    asking = ("-n", "studio", "--dry-run=server", "--kube-apiserver", cluster, "--disable-openapi-validation")

    def rendered(release: str, values: dict[str, Any], helm: str) -> dict[str, Any]:
        only = ("--show-only", "templates/deployment.yaml")
        ran = run_helm("template", release, str(CHART), *asking, *only, values=values, helm=helm)
        assert ran.returncode == 0, ran.stderr
        found: dict[str, Any] = yaml.safe_load(ran.stdout)
        return found

    return rendered
