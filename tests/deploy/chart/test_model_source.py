"""Where the models come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Objects: TypeAlias = Any
Manifest: TypeAlias = Any

SUM = "ab" * 32


def pod(objects: Objects) -> Manifest:
    return objects.one("Deployment")["spec"]["template"]["spec"]


def models(objects: Objects) -> tuple[Manifest, Manifest]:
    """Returns the volume of the models and its mount in the server, None and None without one."""
    spec = pod(objects)
    volume = next((one for one in spec["volumes"] if one["name"] == "models"), None)
    mounts = spec["containers"][0]["volumeMounts"]
    return volume, next((one for one in mounts if one["name"] == "models"), None)


def download(**more: Manifest) -> dict[str, Any]:
    return {"model": {"source": "download", "download": {"url": "s3://bucket/models", **more}}}


def test_the_bundled_models_need_no_volume(render: Callable[..., Any]) -> None:
    objects = render()

    assert models(objects) == (None, None)
    assert "initContainers" not in pod(objects)


def test_an_image_is_mounted_for_reading(render: Callable[..., Any]) -> None:
    image = {"reference": "r.example/facades:3", "pullPolicy": "Always", "subPath": "models"}

    volume, mount = models(render({"model": {"source": "image", "image": image}}))

    assert volume == {"name": "models", "image": {"reference": "r.example/facades:3", "pullPolicy": "Always"}}
    assert mount == {"name": "models", "mountPath": "/models", "readOnly": True, "subPath": "models"}


def test_images_need_a_kubernetes_that_mounts_them(refusal: Callable[..., str], render: Callable[..., Any]) -> None:
    values = {"model": {"source": "image", "image": {"reference": "r.example/facades:3"}}}

    assert "1.33" in refusal(values, kube="1.32")
    assert models(render(values, kube="1.33"))[0]


def test_a_claim_is_mounted_for_reading(render: Callable[..., Any]) -> None:
    volume, mount = models(render({"model": {"source": "claim", "claim": {"name": "models", "subPath": "live"}}}))

    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert mount == {"name": "models", "mountPath": "/models", "readOnly": True, "subPath": "live"}


def test_a_download_comes_before_the_server_and_is_checked(render: Callable[..., Any]) -> None:
    asked = {"sha256": SUM, "as": "facades/3", "secretName": "bucket-key", "sizeLimit": "500Mi"}

    objects = render(download(**asked))

    (fetch,) = pod(objects)["initContainers"]
    volume, mount = models(objects)
    assert fetch["name"] == "fetch-model"
    assert fetch["image"] == pod(objects)["containers"][0]["image"]
    assert fetch["command"] == ["lapis-models", "fetch"]
    assert fetch["args"] == [
        "s3://bucket/models",
        "--output=/models",
        f"--sha256={SUM}",
        "--as=facades/3",
        f"--max-bytes={500 * 2**20}",
    ]
    assert fetch["envFrom"] == [{"secretRef": {"name": "bucket-key"}}]
    assert volume["emptyDir"] == {"sizeLimit": "500Mi"}
    assert mount["readOnly"]
    assert {"name": "models", "mountPath": "/models"} in fetch["volumeMounts"]


@pytest.mark.parametrize(
    ("limit", "count"),
    [("4Gi", 4 * 2**30), ("1.5Gi", 3 * 2**29), ("10M", 10_000_000), ("2048", 2048), (5_000_000_000, 5_000_000_000)],
)
def test_the_fetch_keeps_within_its_volume(render: Callable[..., Any], limit: str | int, count: int) -> None:
    objects = render(download(sizeLimit=limit))

    (fetch,) = pod(objects)["initContainers"]
    assert f"--max-bytes={count}" in fetch["args"]
    assert str(models(objects)[0]["emptyDir"]["sizeLimit"]) == str(limit)


def test_a_fetch_sees_no_gpu(render: Callable[..., Any]) -> None:
    (fetch,) = pod(render({**download(), "accelerator": {"kind": "gpu"}}))["initContainers"]

    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in fetch["env"]
    assert "nvidia.com/gpu" not in fetch["resources"]["limits"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"source": "image"}, ["model.image.reference"]),
        ({"source": "image", "image": {"reference": "r.example/facades"}}, ["model.image.reference", "tag"]),
        ({"source": "image", "image": {"reference": "r.example/facades:latest"}}, ["model.image.reference", "latest"]),
        ({"source": "image", "image": {"reference": "r.example:5000/facades"}}, ["model.image.reference", "tag"]),
        ({"source": "claim"}, ["model.claim.name"]),
        ({"source": "download"}, ["model.download.url"]),
        ({"source": "download", "download": {"url": "ftp://host/x"}}, ["model.download.url", "oci://"]),
        ({"source": "download", "download": {"url": "https://host/model.onnx"}}, ["model.download.sha256"]),
        ({"source": "download", "download": {"url": "s3://b/m", "sha256": "abc"}}, ["model.download.sha256"]),
        ({"source": "download", "download": {"url": "s3://b/m", "as": "facades"}}, ["model.download.as", "facades/3"]),
        ({"source": "download", "download": {"url": "s3://b/m", "sizeLimit": "4 GB"}}, ["model.download.sizeLimit"]),
        (
            {"source": "download", "download": {"url": "oci://r/m:1", "endpoint": "http://x"}},
            ["model.download.endpoint"],
        ),
        ({"claim": {"name": "models"}}, ["model.claim.name", "model.source"]),
    ],
)
def test_half_a_source_is_refused(refusal: Callable[..., str], model: dict[str, Any], words: list[str]) -> None:
    message = refusal({"model": model})

    assert all(word in message for word in words)
