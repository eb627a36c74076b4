"""The claim in which TensorRT's engines outlive a replica."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

Objects: TypeAlias = Any
Manifest: TypeAlias = Any


def values(**cache: Manifest) -> dict[str, Any]:
    cache = {"enabled": True, **cache}
    return {"accelerator": {"kind": "gpu", "tensorrt": {"enabled": True}, "engineCache": cache}}


def mount(objects: Objects) -> tuple[Manifest, Manifest]:
    """Returns where the cache is in the container, and what it is."""
    spec = objects.one("Deployment")["spec"]["template"]["spec"]
    mounts = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one for one in spec["volumes"]}
    return mounts["engine-cache"], volumes["engine-cache"]["persistentVolumeClaim"]


def test_a_claim_is_made_and_the_server_told_of_it(render: Callable[..., Any]) -> None:
    objects = render(values(size="9Gi", storageClass="fast"))

    claim = objects.one("PersistentVolumeClaim", "-engine-cache")
    path, volume = mount(objects)
    settings = yaml.safe_load(objects.one("ConfigMap", "-settings")["data"]["lapis.yaml"])
    assert volume == {"claimName": claim["metadata"]["name"]}
    assert settings["engine_cache"] == path
    assert claim["spec"]["resources"]["requests"]["storage"] == "9Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_default_storage_class_is_left_to_the_cluster(render: Callable[..., Any]) -> None:
    assert "storageClassName" not in render(values()).one("PersistentVolumeClaim", "-engine-cache")["spec"]


def test_an_existing_claim_is_used(render: Callable[..., Any]) -> None:
    objects = render(values(existingClaim="engines"))

    assert mount(objects)[1] == {"claimName": "engines"}
    assert "PersistentVolumeClaim" not in objects.kinds


def test_without_a_cache_there_is_no_claim(render: Callable[..., Any]) -> None:
    objects = render()

    assert "PersistentVolumeClaim" not in objects.kinds
    assert "engine_cache" not in objects.one("ConfigMap", "-settings")["data"]["lapis.yaml"]


def test_a_cache_without_tensorrt_is_refused(refusal: Callable[..., str]) -> None:
    message = refusal({"accelerator": {"kind": "gpu", "engineCache": {"enabled": True}}})

    assert "accelerator.engineCache.enabled" in message
    assert "accelerator.tensorrt.enabled" in message


def test_a_claim_for_one_pod_is_refused_for_several(refusal: Callable[..., str]) -> None:
    assert "ReadWriteMany" in refusal(values(accessModes=["ReadWriteOncePod"]))


IN_PLACE = {"rollout": {"maxSurge": 0, "maxUnavailable": 1}}


@pytest.mark.parametrize("more", [{}, {**IN_PLACE, "canary": {"enabled": True}}])
def test_a_claim_for_one_pod_is_refused_where_a_second_comes_beside_it(
    refusal: Callable[..., str], render: Callable[..., Any], more: dict[str, Any]
) -> None:
    alone = {**values(accessModes=["ReadWriteOncePod"]), "replicas": 1}

    assert "ReadWriteOncePod" in refusal({**alone, **more})
    assert render({**alone, **IN_PLACE})
