"""The manifests of a bulk translation: they say what `lapis-bulk` and Kubernetes understand."""

from __future__ import annotations

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


@pytest.fixture(params=VARIANTS)
def job(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "gpu":
        return yaml.safe_load((FOLDER / "gpu" / "rayjob.yaml").read_text(encoding="utf-8"))
    if not (kubectl := shutil.which("kubectl")):
        pytest.skip("kubectl is not installed: make chart puts it into the environment")
    done = subprocess.run([kubectl, "kustomize", FOLDER / request.param], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_entrypoint_is_a_command_that_the_settings_accept(job: dict[str, Any]) -> None:
    command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert command == "lapis-bulk"
    settings = read(command, BulkSettings, arguments)
    assert settings.input.startswith("s3://")
    assert str(settings.models) == "/models"


def test_an_actor_fits_on_a_worker(job: dict[str, Any]) -> None:
    _, *arguments = shlex.split(job["spec"]["entrypoint"])
    settings = read("lapis-bulk", BulkSettings, arguments)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert settings.cpus <= float(resources["requests"]["cpu"])
    assert resources["limits"].get("nvidia.com/gpu", 0) == (0 if settings.devices == "cpu" else settings.gpus)


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
