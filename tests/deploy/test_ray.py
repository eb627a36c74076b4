"""The manifests of a bulk translation: they say what `lapis-bulk` and Kubernetes understand."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lapis.command import read

from service.bulk.settings import BulkSettings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "ray"
VARIANTS = ["gpu", "cpu"]


def kustomized(variant: str) -> list[dict[str, Any]]:
    if not (kubectl := shutil.which("kubectl")):
        pytest.skip("kubectl is not installed: make chart puts it into the environment")
    done = subprocess.run([kubectl, "kustomize", FOLDER / variant], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(params=VARIANTS)
def job(request: pytest.FixtureRequest) -> dict[str, Any]:
    (found,) = [one for one in kustomized(request.param) if one["kind"] == "RayJob"]
    return found


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_entrypoint_is_a_command_that_the_settings_accept(job: dict[str, Any]) -> None:
    command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert command == "lapis-bulk"
    settings = read(command, BulkSettings, arguments)
    assert settings.tolerate_failures  # else one broken picture begins the job anew on another cluster
    assert settings.input.startswith("s3://")
    assert str(settings.models) == "/models"


def test_an_actor_fits_on_a_worker(job: dict[str, Any]) -> None:
    _, *arguments = shlex.split(job["spec"]["entrypoint"])
    settings = read("lapis-bulk", BulkSettings, arguments)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert settings.cpus <= float(resources["requests"]["cpu"])
    assert resources["limits"].get("nvidia.com/gpu", 0) == (0 if settings.devices == "cpu" else settings.gpus)


def test_nodes_come_for_as_many_actors_as_are_asked_for(job: dict[str, Any]) -> None:
    """By themselves there are as many as fit on the nodes that are there at the start."""
    _, *arguments = shlex.split(job["spec"]["entrypoint"])
    settings = read("lapis-bulk", BulkSettings, arguments)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert settings.actors == group["maxReplicas"]
    assert settings.devices != "auto"  # a GPU's node may not be there yet


def test_image_has_what_kuberay_asks_nodes_for() -> None:
    """Probes and jobs go by the dashboard, which is more than Ray Data brings; its shells know the usual path alone."""
    assert importlib.import_module("ray.dashboard.optional_deps")
    dockerfile = (FOLDER / "bulk.Dockerfile").read_text(encoding="utf-8")
    (linked,) = re.findall(r"ln -s (.+) /usr/local/bin/", dockerfile)
    assert {Path(one).name for one in linked.split()} >= {"ray", "lapis-bulk", "lapis-models"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_none_but_nodes_and_the_operator_reach_ray(variant: str) -> None:
    objects = {one["kind"]: one for one in kustomized(variant)}
    spec = objects["NetworkPolicy"]["spec"]
    chosen = spec["podSelector"]["matchLabels"].items()
    cluster = objects["RayJob"]["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    assert all(chosen <= group["template"]["metadata"]["labels"].items() for group in groups)
    among, operator = spec["ingress"]
    assert [peer["podSelector"]["matchLabels"].items() for peer in among["from"]] == [chosen]
    assert [port["port"] for port in operator["ports"]] == [8265]


def test_nodes_run_the_ray_that_is_tested() -> None:
    job = yaml.safe_load((FOLDER / "gpu" / "rayjob.yaml").read_text(encoding="utf-8"))
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


def test_pods_have_no_rights(job: dict[str, Any]) -> None:
    for pod in pods(job):
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_mounts_have_their_volumes_and_the_model_is_where_the_command_looks(job: dict[str, Any]) -> None:
    for pod in pods(job):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod["initContainers"], *pod["containers"]):
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert set(mounts) <= volumes
            assert mounts["models"] == "/models"


def test_pods_are_valid_kubernetes(job: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for spec in pods(job):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        for version in ("1.29", "1.33", "1.37"):
            validate.validate(pod, version, strict=True)


def test_dockerfile_is_linted_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run(
        [hadolint, "--no-color", FOLDER / "bulk.Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "")
