"""What users add: variables, volumes, containers, and objects of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

Objects: TypeAlias = Any
Manifest: TypeAlias = Any


def pod(objects: Objects) -> Manifest:
    return objects.one("Deployment")["spec"]["template"]["spec"]


def test_additions_are_in_the_pod(render: Callable[..., Any]) -> None:
    extra = {
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "envFrom": [{"configMapRef": {"name": "common"}}],
        "volumes": [{"name": "fonts", "configMap": {"name": "fonts"}}],
        "volumeMounts": [{"name": "fonts", "mountPath": "/fonts"}],
        "containers": [{"name": "sidecar", "image": "sidecar:1"}],
        "initContainers": [{"name": "first", "image": "first:1"}],
    }

    spec = pod(render({"extra": extra}))

    server, sidecar = spec["containers"]
    assert (server["env"], server["envFrom"]) == (extra["env"], extra["envFrom"])
    assert extra["volumeMounts"][0] in server["volumeMounts"]
    assert extra["volumes"][0] in spec["volumes"]
    assert sidecar == extra["containers"][0]
    assert spec["initContainers"] == extra["initContainers"]


def test_a_plain_server_has_no_environment(render: Callable[..., Any]) -> None:
    assert not {"env", "envFrom"} & set(pod(render())["containers"][0])


def test_the_fetch_has_the_same_variables_and_mounts(render: Callable[..., Any]) -> None:
    extra = {
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "envFrom": [{"configMapRef": {"name": "common"}}],
        "volumes": [{"name": "authority", "configMap": {"name": "authority"}}],
        "volumeMounts": [{"name": "authority", "mountPath": "/authority"}],
    }
    model = {"source": "download", "download": {"url": "s3://bucket/models", "secretName": "key"}}

    (fetch,) = pod(render({"model": model, "extra": extra}))["initContainers"]

    assert fetch["env"] == extra["env"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "key"}}, *extra["envFrom"]]
    assert extra["volumeMounts"][0] in fetch["volumeMounts"]


def test_init_containers_come_before_the_fetch(render: Callable[..., Any]) -> None:
    first = {"name": "first", "image": "first:1"}
    model = {"source": "download", "download": {"url": "s3://bucket/models"}}

    spec = pod(render({"model": model, "extra": {"initContainers": [first]}}))

    assert [one["name"] for one in spec["initContainers"]] == ["first", "fetch-model"]


def test_volumes_of_the_chart_s_own_names_are_refused(refusal: Callable[..., str]) -> None:
    assert "extra.volumes: tmp is" in refusal({"extra": {"volumes": [{"name": "tmp", "emptyDir": {}}]}})


def test_objects_are_templates(render: Callable[..., Any]) -> None:
    data = {"where": '{{ include "lapis.fullname" . }}.{{ .Release.Namespace }}'}
    objects = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"own-{n}"}, "data": data} for n in (1, 2)
    ]

    rendered = render({"extra": {"objects": objects}})

    found = {one["metadata"]["name"]: one for one in rendered.of("ConfigMap")}
    assert found["own-1"]["data"] == found["own-2"]["data"]
    assert found["own-1"]["data"]["where"] == f"{rendered.one('Deployment')['metadata']['name']}.studio"


def test_annotations_of_the_pod_stand_beside_the_charts(render: Callable[..., Any]) -> None:
    objects = render({"pod": {"annotations": {"sidecar.istio.io/inject": "true"}}})

    annotations = objects.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["sidecar.istio.io/inject"] == "true"
    assert "checksum/settings" in annotations
