"""The canary: a second Deployment that differs in its image, model or settings, and in nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

Objects: TypeAlias = Any
Manifest: TypeAlias = Any

KEDA = {"kind": "keda", "keda": {"prometheus": "http://prometheus:9090"}}
DIGEST = "sha256:" + "1f" * 32


def pod(objects: Objects, ending: str = "-canary") -> Manifest:
    return objects.one("Deployment", ending)["spec"]["template"]["spec"]


def settings(objects: Objects, ending: str = "-settings-canary") -> Manifest:
    return yaml.safe_load(objects.one("ConfigMap", ending)["data"]["lapis.yaml"])


def test_there_is_no_canary_by_itself(render: Callable[..., Any]) -> None:
    assert len(render().of("Deployment")) == 1


def test_the_canary_is_selected_apart(render: Callable[..., Any]) -> None:
    objects = render({"canary": {"enabled": True, "replicas": 2}})

    stable, canary = objects.one("Deployment"), objects.one("Deployment", "-canary")
    assert canary["spec"]["replicas"] == 2
    assert canary["spec"]["selector"]["matchLabels"]["lapis/track"] == "canary"
    assert canary["spec"]["template"]["metadata"]["labels"]["lapis/track"] == "canary"
    assert stable["spec"]["selector"]["matchLabels"]["lapis/track"] == "stable"


def test_the_canary_keeps_its_replicas_while_the_others_scale(render: Callable[..., Any]) -> None:
    objects = render({"canary": {"enabled": True}, "autoscaling": KEDA})

    assert objects.one("Deployment", "-canary")["spec"]["replicas"] == 1
    assert "replicas" not in objects.one("Deployment")["spec"]


def test_the_canary_differs_where_it_was_told_to(render: Callable[..., Any]) -> None:
    objects = render({"image": {"repository": "r.example/lapis"}, "canary": {"enabled": True, "image": {"tag": "2.0"}}})

    assert pod(objects)["containers"][0]["image"] == "r.example/lapis:2.0"
    assert pod(objects, "")["containers"][0]["image"] == "r.example/lapis:0.1.0-cpu"


@pytest.mark.parametrize("own", [{"tag": "2.0"}, {"repository": "elsewhere/lapis"}])
def test_the_other_images_digest_does_not_overrule_the_canarys(render: Callable[..., Any], own: dict[str, str]) -> None:
    objects = render({"image": {"digest": DIGEST}, "canary": {"enabled": True, "image": own}})

    assert DIGEST not in pod(objects)["containers"][0]["image"]
    assert DIGEST in pod(objects, "")["containers"][0]["image"]


def test_the_canary_may_have_another_model(render: Callable[..., Any]) -> None:
    model = {
        "source": "download",
        "download": {"url": "https://host/3.onnx", "sha256": "a" * 64, "as": "facades/3", "secretName": "key"},
    }
    own = {"download": {"url": "https://host/4.onnx", "sha256": "b" * 64, "as": "facades/4"}}

    objects = render({"model": model, "canary": {"enabled": True, "model": own}})

    (fetch,) = pod(objects)["initContainers"]
    assert fetch["args"][:1] == ["https://host/4.onnx"]
    assert {f"--sha256={'b' * 64}", "--as=facades/4"} <= set(fetch["args"])
    assert fetch["envFrom"] == [{"secretRef": {"name": "key"}}]


def test_the_canarys_model_is_not_held_to_the_other_ones_checksum(
    render: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    stable = {"source": "download", "download": {"url": "s3://b/3", "sha256": "a" * 64}}
    values = {"model": stable, "canary": {"enabled": True, "model": {"download": {"url": "s3://b/4"}}}}

    (fetch,) = pod(render(values))["initContainers"]
    assert not [argument for argument in fetch["args"] if "sha256" in argument]

    values["canary"]["model"]["download"]["url"] = "https://host/4.onnx"
    assert "canary.model.download.sha256" in refusal(values)


def test_the_canary_may_have_other_settings(render: Callable[..., Any]) -> None:
    own = {"max_batch_size": 16, "model_control": False, "max_queue_delay": 0}
    values = {"settings": {"model_control": True, "cache_bytes": 9}, "canary": {"enabled": True, "settings": own}}

    objects = render(values)

    assert settings(objects) == {**settings(objects, "-settings"), **own}
    assert settings(objects, "-settings")["model_control"] is True
    volume = next(one for one in pod(objects)["volumes"] if one["name"] == "settings")
    assert volume["configMap"]["name"] == objects.one("ConfigMap", "-settings-canary")["metadata"]["name"]


def test_the_canarys_settings_leave_the_other_replicas_alone(render: Callable[..., Any]) -> None:
    def checksum(own: dict[str, Any], ending: str) -> Manifest:
        objects = render({"canary": {"enabled": True, "settings": own}})
        return objects.one("Deployment", ending)["spec"]["template"]["metadata"]["annotations"]

    assert checksum({}, "") == checksum({"max_batch_size": 2}, "")
    assert checksum({}, "-canary") != checksum({"max_batch_size": 2}, "-canary")
