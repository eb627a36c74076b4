from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from lapis.command import read
from torch.distributed.run import parse_args

from export.settings import ExportSettings
from service.delivery.settings import ModelsSettings
from train.pairs.__main__ import PairsSettings
from train.settings import TrainSettings

Manifests = Any  # what conftest.py gives
WRITTEN = ["data", "export", "job", "push", "torchrun", "trainjob", "volumes"]
IN_A_BUCKET = ["job-bucket", "torchrun-bucket", "trainjob-bucket"]
FOLDERS = [*WRITTEN, *IN_A_BUCKET]
VERSIONS = ("1.29", "1.33", "1.37")
KUBEFLOW = ("TrainJob", "TrainingRuntime")
COMMANDS = {
    "lapis-train": TrainSettings,
    "lapis-pairs": PairsSettings,
    "lapis-export": ExportSettings,
    "lapis-models": ModelsSettings,
}


def test_no_folder_is_left_out(manifests: Manifests) -> None:
    found = {path.parent.name for path in manifests.folder.glob("*/kustomization.yaml")}
    assert found == {*FOLDERS, "bucket"}  # which is no folder by itself: the others lay it over theirs


@pytest.mark.parametrize("kube", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_objects_are_what_kubernetes_takes(manifests: Manifests, folder: str, kube: str) -> None:
    for manifest in manifests.all(folder):
        if manifest["kind"] not in KUBEFLOW:
            kubernetes_validate.validate(manifest, kube, strict=True)


@pytest.mark.parametrize("kube", VERSIONS)
@pytest.mark.parametrize("folder", ["trainjob", "trainjob-bucket"])
def test_runtime_s_jobs_are_what_kubernetes_takes(manifests: Manifests, folder: str, kube: str) -> None:
    for job in manifests.one(folder, "TrainingRuntime")["spec"]["template"]["spec"]["replicatedJobs"]:
        whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}} | job["template"]
        whole["metadata"] |= job["template"]["metadata"]
        kubernetes_validate.validate(whole, kube, strict=True)


@pytest.mark.parametrize("folder", ["trainjob", "trainjob-bucket"])
@pytest.mark.parametrize("kind", KUBEFLOW)
def test_trainer_s_objects_are_what_its_own_models_read(manifests: Manifests, kind: str, folder: str) -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed")
    manifest = manifests.one(folder, kind)
    read_back = getattr(models, f"TrainerV1alpha1{kind}").from_dict(manifest).to_dict()
    assert lost(manifest, read_back) == []


def lost(sent: object, kept: object, where: str = "") -> list[str]:
    """The fields that were sent and not kept, as a client does with those that it does not know."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        return [path for key, value in sent.items() for path in lost(value, kept.get(key), f"{where}.{key}")]
    if isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        return [path for pair in zip(sent, kept, strict=True) for path in lost(*pair, f"{where}[]")]
    return [] if sent == kept or str(sent) == str(kept) else [where]


@pytest.mark.parametrize("folder", WRITTEN)
def test_kustomize_builds_what_is_written(manifests: Manifests, folder: str) -> None:
    def named(found: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
        return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}

    assert named(manifests.built(folder)) == named(manifests.written(folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_have_no_right_that_they_can_do_without(manifests: Manifests, folder: str) -> None:
    for pod in manifests.pods(folder):
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
        security = pod["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"], security["fsGroup"]) == (True, 65532, 65532)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
            names = {mount["name"] for mount in container["volumeMounts"]}
            assert names <= {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_and_names_are_the_project_s(manifests: Manifests, folder: str) -> None:
    assert all(manifest["metadata"]["name"].startswith("lapis") for manifest in manifests.all(folder))
    for container in manifests.containers(folder):
        image, tag = container["image"].rsplit(":", 1)
        assert (image, tag) == ("lapis", "0.1.0-train") or (image.endswith("rclone") and tag != "latest")
        assert container["name"] == "node" or "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("folder", ["job", "torchrun", "trainjob", *IN_A_BUCKET])
def test_trainers_have_shared_memory_for_their_workers_and_time_to_save(manifests: Manifests, folder: str) -> None:
    (pod,) = manifests.pods(folder)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    assert pod["terminationGracePeriodSeconds"] > 90  # torchrun kills after 90


@pytest.mark.parametrize("folder", ["job", "torchrun", "trainjob"])
def test_training_takes_its_flags_and_may_be_started_again(manifests: Manifests, folder: str) -> None:
    line = manifests.command(folder)
    flags = line[line.index("train") + 1 :] if "train" in line else line[1:]
    settings = read("lapis-train", TrainSettings, flags)
    assert settings.resumes_by_itself
    assert settings.output == Path("/runs/openmoji")


@pytest.mark.parametrize("folder", ["data", "export", "push", "job"])
def test_commands_take_the_flags_that_they_are_given(manifests: Manifests, folder: str) -> None:
    for container in manifests.containers(folder):
        name, *flags = [*container["command"], *container["args"]]
        read(name, COMMANDS[name], flags)


def test_pods_meet_where_the_service_names_them(manifests: Manifests) -> None:
    job, service = manifests.one("torchrun", "Job"), manifests.one("torchrun", "Service")
    line = manifests.command("torchrun")[1:]
    options = parse_args([word.replace("$(JOB_COMPLETION_INDEX)", "1") for word in line])
    assert (options.module, options.training_script) == (True, "train")
    assert int(options.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]
    subdomain = job["spec"]["template"]["spec"]["subdomain"]
    assert options.node_rank == 1
    assert options.master_addr == f"{job['metadata']['name']}-0.{subdomain}"
    assert subdomain == service["metadata"]["name"]
    assert [entry["port"] for entry in service["spec"]["ports"]] == [options.master_port]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}


@pytest.mark.parametrize("folder", IN_A_BUCKET)
def test_bucket_holds_the_run_in_place_of_the_claim(manifests: Manifests, folder: str) -> None:
    (pod,) = manifests.pods(folder)
    (plain,) = manifests.pods(folder.removesuffix("-bucket"))
    (runs,) = [volume for volume in pod["volumes"] if volume["name"] == "runs"]
    assert set(runs) == {"name", "emptyDir"}
    fetch, upload, train = manifests.containers(folder)
    assert train == plain["containers"][0]
    assert "restartPolicy" not in fetch
    assert upload["restartPolicy"] == "Always"
    (mount,) = [mount for mount in train["volumeMounts"] if mount["name"] == "runs"]
    output = next(word for word in manifests.command(folder) if word.startswith("--output="))
    for container in (fetch, upload):
        assert mount in container["volumeMounts"]
        assert {"name": "RUN", "value": output.removeprefix("--output=")} in container["env"]
    assert {"lapis-bucket", "lapis-bucket-script"} <= {
        manifest["metadata"]["name"] for manifest in manifests.all(folder) if manifest["kind"] == "ConfigMap"
    }
    assert "lapis-runs" not in json.dumps(pod)
