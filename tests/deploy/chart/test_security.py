"""Every pod keeps to the "restricted" Pod Security Standard, and to less than that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Objects: TypeAlias = Any
Manifest: TypeAlias = Any

EVERYTHING = {
    "accelerator": {"kind": "gpu", "tensorrt": {"enabled": True}, "engineCache": {"enabled": True}},
    "model": {"source": "download", "download": {"url": "s3://bucket/models"}},
    "tls": {"enabled": True, "secretName": "certificate"},
    "tokens": {"secretName": "callers"},
    "canary": {"enabled": True},
}
# What the standard lets a pod mount.
VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret", "image"}


def pods(objects: Objects) -> Iterator[Manifest]:
    yield from (one["spec"]["template"]["spec"] for one in objects.of("Deployment"))
    yield from (one["spec"] for one in objects.of("Pod"))


def containers(objects: Objects) -> Iterator[Manifest]:
    for pod in pods(objects):
        yield from pod.get("initContainers", []) + pod["containers"]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["plain", "everything"])
def test_no_container_has_any_right(render: Callable[..., Any], values: dict[str, Any]) -> None:
    found = list(containers(render(values)))

    assert len(found) == (2 if not values else 5)
    for container in found:
        assert container["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_the_platform_may_say_who_the_processes_are(render: Callable[..., Any]) -> None:
    """As OpenShift does, which refuses users that are not of a namespace's own range."""
    objects = render({**EVERYTHING, "pod": {"user": 0}})

    contexts = [one["securityContext"] for one in (*pods(objects), *containers(objects))]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & {key for context in contexts for key in context}
    assert all(context["runAsNonRoot"] for context in contexts)


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["plain", "everything"])
def test_no_pod_knows_the_cluster(render: Callable[..., Any], values: dict[str, Any]) -> None:
    for pod in pods(render(values)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["fsGroup"] == 65532
        assert all(set(volume) - {"name"} <= VOLUMES for volume in pod["volumes"])


def test_every_container_is_bounded(render: Callable[..., Any]) -> None:
    for container in containers(render(EVERYTHING)):
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])


def test_what_can_be_written_is_bounded(render: Callable[..., Any]) -> None:
    for pod in pods(render(EVERYTHING)):
        assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_secrets_are_not_in_the_environment_of_the_server(render: Callable[..., Any]) -> None:
    for pod in pods(render(EVERYTHING)):
        assert not {"env", "envFrom"} & set(pod["containers"][0]) - ({"env"} if pod.get("restartPolicy") else set())


def test_only_named_keys_of_the_secrets_are_mounted(render: Callable[..., Any]) -> None:
    spec = render({**EVERYTHING, "tls": {**EVERYTHING["tls"], "clientCASecretName": "ca"}}).one("Deployment")["spec"]

    secrets = {one["name"]: one["secret"] for one in spec["template"]["spec"]["volumes"] if "secret" in one}
    assert [item["key"] for item in secrets["tokens"]["items"]] == ["tokens"]
    assert [item["key"] for item in secrets["client-ca"]["items"]] == ["ca.crt"]


def test_the_service_account_has_no_token(render: Callable[..., Any]) -> None:
    annotations = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"}

    objects = render({"serviceAccount": {"annotations": annotations}})

    account = objects.one("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["annotations"] == annotations
    assert {pod["serviceAccountName"] for pod in pods(objects)} == {account["metadata"]["name"]}


@pytest.mark.parametrize(("name", "used"), [("", "default"), ("own", "own")])
def test_another_account_may_be_used(render: Callable[..., Any], name: str, used: str) -> None:
    objects = render({"serviceAccount": {"create": False, "name": name}})

    assert "ServiceAccount" not in objects.kinds
    assert {pod["serviceAccountName"] for pod in pods(objects)} == {used}
