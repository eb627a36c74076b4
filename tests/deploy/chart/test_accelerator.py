"""What a replica computes on: the resource, the devices that the server is told, the nodes, the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from service.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable

Objects: TypeAlias = Any
Manifest: TypeAlias = Any

RESOURCES = {
    "gpu": "nvidia.com/gpu",
    "shared": "nvidia.com/gpu.shared",
    "mig": "nvidia.com/mig-1g.10gb",
}


def values(kind: str, **more: Manifest) -> dict[str, Any]:
    profile = {"migProfile": "1g.10gb"} if kind == "mig" else {}
    return {"accelerator": {"kind": kind, **profile, **more}}


def pod(objects: Objects) -> Manifest:
    return objects.one("Deployment")["spec"]["template"]["spec"]


def devices(objects: Objects) -> str:
    flags = [flag for flag in pod(objects)["containers"][0]["args"] if flag.startswith("--devices=")]
    assert len(flags) == 1
    return str(flags[0].removeprefix("--devices="))


@pytest.mark.parametrize(("kind", "resource"), RESOURCES.items())
def test_each_kind_asks_for_its_resource(render: Callable[..., Any], kind: str, resource: str) -> None:
    container = pod(render(values(kind)))["containers"][0]

    assert container["resources"]["limits"][resource] == 1
    assert container["image"].endswith("-cuda")


def test_a_cpu_replica_asks_for_no_gpu(render: Callable[..., Any]) -> None:
    objects = render()

    assert set(pod(objects)["containers"][0]["resources"]["limits"]) == {"cpu", "memory"}
    assert devices(objects) == "cpu"
    assert "tolerations" not in pod(objects)


@pytest.mark.parametrize("kind", RESOURCES)
def test_gpu_nodes_are_tolerated_besides_what_was_named(render: Callable[..., Any], kind: str) -> None:
    own = {"key": "spot", "operator": "Exists"}

    tolerations = pod(render({**values(kind), "placement": {"tolerations": [own]}}))["tolerations"]

    assert own in tolerations
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in tolerations


@pytest.mark.parametrize(
    ("accelerator", "expected"),
    [
        ({"count": 1}, "cuda:0"),
        ({"count": 3}, "cuda:0,cuda:1,cuda:2"),
        ({"count": 2, "tensorrt": {"enabled": True}}, "tensorrt:0,tensorrt:1"),
    ],
)
def test_every_gpu_of_the_pod_is_used(render: Callable[..., Any], accelerator: dict[str, Any], expected: str) -> None:
    objects = render(values("gpu", **accelerator))

    assert devices(objects) == expected
    assert ServeSettings(devices=expected).devices == expected
    assert pod(objects)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == accelerator["count"]


def test_the_resource_may_be_named(render: Callable[..., Any]) -> None:
    limits = pod(render(values("shared", resource="nvidia.com/gpu")))["containers"][0]["resources"]["limits"]

    assert limits["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu.shared" not in limits


def test_resources_of_ones_own_keep_the_accelerator(render: Callable[..., Any]) -> None:
    own = {"requests": {"cpu": "8"}}

    resources = pod(render({**values("gpu"), "resources": own}))["containers"][0]["resources"]

    assert resources == {"requests": {"cpu": "8"}, "limits": {"nvidia.com/gpu": 1}}


def test_nodes_are_chosen_by_product_and_by_labels(render: Callable[..., Any]) -> None:
    objects = render({**values("gpu", product="NVIDIA-L4"), "placement": {"nodeSelector": {"disk": "fast"}}})

    assert pod(objects)["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4", "disk": "fast"}


def test_the_runtime_class_may_be_named(render: Callable[..., Any]) -> None:
    assert pod(render(values("gpu", runtimeClassName="nvidia")))["runtimeClassName"] == "nvidia"


def test_memory_holds_the_requests_that_may_wait(render: Callable[..., Any]) -> None:
    limit = pod(render())["containers"][0]["resources"]["limits"]["memory"]

    assert int(limit.removesuffix("Gi")) * 2**30 > ServeSettings().max_total_queue_bytes + 2**30


@pytest.mark.parametrize(
    ("accelerator", "words"),
    [
        ({"kind": "mig"}, ["accelerator.migProfile", "1g.10gb"]),
        ({"kind": "gpu", "migProfile": "1g.10gb"}, ["accelerator.migProfile", "mig"]),
        ({"kind": "shared", "count": 2}, ["accelerator.count", "replicas"]),
        ({"kind": "mig", "migProfile": "1g.10gb", "count": 2}, ["accelerator.count", "replicas"]),
        ({"tensorrt": {"enabled": True}}, ["accelerator.tensorrt.enabled", "cpu"]),
        ({"kind": "gpu", "tensorrt": {"fp16": True}}, ["accelerator.tensorrt.fp16", "accelerator.tensorrt.enabled"]),
        ({"product": "NVIDIA-L4"}, ["accelerator.product", "cpu"]),
        ({"resource": "amd.com/gpu"}, ["accelerator.resource", "cpu"]),
    ],
)
def test_what_does_not_go_together_is_refused(
    refusal: Callable[..., str], accelerator: dict[str, Any], words: list[str]
) -> None:
    message = refusal({"accelerator": accelerator})

    assert all(word in message for word in words)
