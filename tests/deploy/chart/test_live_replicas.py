"""Whoever switches scaling on keeps the replicas that there are: Helm asks the cluster, which here is its API alone."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


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
def cluster(render: Callable[..., Any]) -> Iterator[str]:
    """A cluster's API that has one Deployment, with 8 replicas; its address."""
    known = answers({(one["apiVersion"], one["kind"]) for one in render(HPA).all})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = known.get(self.path.partition("?")[0])
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(found or NOT_FOUND).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


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
