"""KServe in place of the Deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE = {"kserve": {"kind": "inferenceService"}}
RUNTIME = {"kserve": {"kind": "servingRuntime"}}


@pytest.mark.parametrize("values", [SERVICE, RUNTIME])
def test_kserve_replaces_the_deployment(render: Callable[..., Any], values: dict[str, Any]) -> None:
    kinds = render(values).kinds

    assert "Deployment" not in kinds
    assert {"InferenceService", "ServingRuntime"} & kinds


def test_neither_is_there_without_kserve(render: Callable[..., Any]) -> None:
    assert not {"InferenceService", "ServingRuntime"} & render().kinds


def test_the_predictor_is_our_pod_under_kserves_names(render: Callable[..., Any]) -> None:
    values = {"replicas": 3, "accelerator": {"kind": "gpu"}}
    pod = dict(render(values).one("Deployment")["spec"]["template"]["spec"])

    predictor = render({**values, **SERVICE}).one("InferenceService")["spec"]["predictor"]

    ours, theirs = pod.pop("containers"), predictor["containers"]
    assert pod.items() <= predictor.items()
    assert theirs[0]["name"] == "kserve-container"
    assert {**theirs[0], "name": "lapis"} == ours[0]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (3, 3)
    assert predictor["labels"]["lapis/track"] == "stable"


def test_the_test_calls_the_replicas_themselves(render: Callable[..., Any]) -> None:
    objects = render({**SERVICE, "service": {"port": 443}})

    (flag,) = objects.one("Pod", "-test")["spec"]["containers"][0]["args"]
    headless = objects.one("Service", "-headless")
    assert flag == f"--server={headless['metadata']['name']}.studio.svc:50051"
    labels = objects.one("InferenceService")["spec"]["predictor"]["labels"]
    assert headless["spec"]["selector"].items() <= labels.items()


def test_two_ports_need_no_knative(render: Callable[..., Any]) -> None:
    annotations = render(SERVICE).one("InferenceService")["metadata"]["annotations"]

    assert annotations["serving.kserve.io/deploymentMode"] == "RawDeployment"


def test_a_runtime_serves_what_kserve_mounts(render: Callable[..., Any]) -> None:
    objects = render(RUNTIME)

    spec = objects.one("ServingRuntime")["spec"]
    (container,) = spec["containers"]
    assert "--models=/mnt/models" in container["args"]
    assert container["name"] == "kserve-container"
    # With protocols that KServe knows, a model that names none would not be taken to be ours.
    assert "protocolVersions" not in spec
    assert spec["supportedModelFormats"] == [{"name": "lapis", "version": "1", "autoSelect": True}]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_a_runtimes_requests_end_before_its_pod_does(render: Callable[..., Any]) -> None:
    objects = render(RUNTIME)

    settings = yaml.safe_load(objects.one("ConfigMap", "-settings")["data"]["lapis.yaml"])
    container = objects.one("ServingRuntime")["spec"]["containers"][0]
    # KServe's pods have Kubernetes' own grace period.
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] + settings["grace_period"] < 30


def test_a_runtime_has_nothing_to_test_yet(render: Callable[..., Any]) -> None:
    assert "Pod" not in render(RUNTIME).kinds
    assert "PodDisruptionBudget" not in render(RUNTIME).kinds


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**SERVICE, "canary": {"enabled": True}}, ["canary.enabled", "kserve.kind"]),
        ({**SERVICE, "autoscaling": {"kind": "hpa"}}, ["autoscaling.kind", "kserve.kind"]),
        ({**SERVICE, "monitoring": {"monitor": "service"}}, ["monitoring.monitor", "use pod"]),
        ({**RUNTIME, "model": {"source": "claim", "claim": {"name": "x"}}}, ["model.source", "storageUri"]),
        ({**RUNTIME, "rollout": {"endpointDelay": 25}}, ["rollout.endpointDelay", "30"]),
        ({**RUNTIME, "serviceAccount": {"name": "models"}}, ["serviceAccount.name", "InferenceService"]),
        ({**RUNTIME, "placement": {"priorityClassName": "high"}}, ["placement.priorityClassName", "ServingRuntime"]),
    ],
)
def test_what_kserve_cannot_do_is_refused(
    refusal: Callable[..., str], values: dict[str, Any], words: list[str]
) -> None:
    message = refusal(values)

    assert all(word in message for word in words)
