"""The Deployment: what runs, how many, how it is replaced, and with which settings."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import yaml

from service.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable

Objects: TypeAlias = Any
Manifest: TypeAlias = Any

FILES = {
    "tls": {"enabled": True, "secretName": "certificate", "clientCASecretName": "callers"},
    "tokens": {"secretName": "callers-tokens"},
}
GPU = {"kind": "gpu", "tensorrt": {"enabled": True, "fp16": True}, "engineCache": {"enabled": True}}


def pod(objects: Objects) -> Manifest:
    return objects.one("Deployment")["spec"]["template"]["spec"]


def settings(objects: Objects) -> Manifest:
    return yaml.safe_load(objects.one("ConfigMap", "-settings")["data"]["lapis.yaml"])


def test_replicas_are_as_many_as_asked_for(render: Callable[..., Any]) -> None:
    assert render({"replicas": 3}).one("Deployment")["spec"]["replicas"] == 3


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_what_scales_decides_on_the_replicas_alone(render: Callable[..., Any], kind: str) -> None:
    scaling = {"kind": kind, "keda": {"prometheus": "http://prometheus:9090"}}

    objects = render({"autoscaling": scaling, "monitoring": {"rules": {"enabled": True}}})

    assert "replicas" not in objects.one("Deployment")["spec"]


def test_a_replica_is_replaced_once_the_next_is_found_by_callers(render: Callable[..., Any]) -> None:
    spec = render({"rollout": {"endpointDelay": 7, "startupSeconds": 1000, "maxSurge": "25%"}}).one("Deployment")[
        "spec"
    ]

    assert spec["minReadySeconds"] == 7
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    assert spec["progressDeadlineSeconds"] > 1000 + 7


def test_the_selector_selects_its_own_pods(render: Callable[..., Any]) -> None:
    spec = render({"labels": {"team": "pictures"}, "pod": {"labels": {"tier": "gold"}}}).one("Deployment")["spec"]

    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert labels["lapis/track"] == "stable"
    assert (labels["team"], labels["tier"]) == ("pictures", "gold")


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({"repository": "r.example/lapis"}, "r.example/lapis:0.1.0-cpu"),
        ({"tag": "2.0"}, "lapis:2.0"),
        ({"tag": "2.0", "digest": "sha256:" + "0a" * 32}, "lapis@sha256:" + "0a" * 32),
    ],
)
def test_the_image_goes_by_digest_before_tag(render: Callable[..., Any], image: dict[str, str], reference: str) -> None:
    assert pod(render({"image": image}))["containers"][0]["image"] == reference


def test_pull_secrets_are_named(render: Callable[..., Any]) -> None:
    assert pod(render({"image": {"pullSecrets": ["registry"]}}))["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ({"digest": "sha256:abc"}, "image.digest"),
        ({"repository": "lapis:1"}, "image.repository"),
        ({"tag": "latest"}, "image.tag"),
    ],
)
def test_images_that_are_not_one_are_refused(refusal: Callable[..., str], image: dict[str, str], sentence: str) -> None:
    assert sentence in refusal({"image": image})


def test_settings_hold_what_was_asked_for_and_what_is_needed_and_nothing_else(render: Callable[..., Any]) -> None:
    plain = settings(render())
    assert set(plain) == {"grace_period", "max_connection_age", "max_connection_age_grace"}

    assert settings(render({"settings": {"max_batch_size": 16, "model_control": False}})) == {
        **plain,
        "max_batch_size": 16,
        "model_control": False,
    }


def test_connections_that_last_need_no_setting(render: Callable[..., Any]) -> None:
    assert set(settings(render({"rollout": {"connectionAge": 0}}))) == {"grace_period"}


def test_the_server_takes_the_settings(render: Callable[..., Any]) -> None:
    given = settings(render({"settings": {"max_queue_bytes": 1 << 30, "buckets": "1,4", "max_batch_size": 4}}))

    taken = ServeSettings(**given)

    assert (taken.max_queue_bytes, taken.grace_period, taken.max_connection_age) == (1 << 30, 25, 300)


def test_every_setting_of_the_chart_is_one_of_the_server(render: Callable[..., Any]) -> None:
    given = settings(render({**FILES, "accelerator": GPU, "model": {"default": "facades"}}))

    assert set(given) <= set(ServeSettings.model_fields)
    assert {"tls_certificate", "tls_key", "tls_client_ca", "tokens", "engine_cache", "default_model"} <= set(given)


def test_files_that_settings_name_are_mounted(render: Callable[..., Any]) -> None:
    objects = render({**FILES, "accelerator": GPU})

    mounts = [mount["mountPath"] for mount in pod(objects)["containers"][0]["volumeMounts"]]
    paths = [value for value in settings(objects).values() if str(value).startswith("/")]
    assert len(paths) == 5
    assert all(any(path == mount or path.startswith(f"{mount}/") for mount in mounts) for path in paths)


def test_every_mount_has_its_volume(render: Callable[..., Any]) -> None:
    spec = pod(render({**FILES, "accelerator": GPU}))

    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == {v["name"] for v in spec["volumes"]}


def test_other_settings_make_other_pods_and_the_same_the_same(render: Callable[..., Any]) -> None:
    def annotations(values: dict[str, Any]) -> Manifest:
        return render(values).one("Deployment")["spec"]["template"]["metadata"]["annotations"]

    assert annotations({}) == annotations({"replicas": 9})
    assert annotations({}) != annotations({"settings": {"max_batch_size": 2}})


def test_every_flag_is_one_of_the_server(render: Callable[..., Any]) -> None:
    command = [sys.executable, "-m", "service", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    flags = [argument.split("=")[0] for argument in pod(render())["containers"][0]["args"]]

    assert "--config" in flags
    assert all(re.search(rf"(?<!\S){flag}\b", help_text) for flag in flags)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"settings": {"max-batch-size": 4}}, ["settings.max-batch-size", "max_batch_size"]),
        ({"settings": {"models": "/here"}}, ["settings.models", "model.source"]),
        ({"settings": {"grace_period": 4}}, ["settings.grace_period", "rollout.drainSeconds"]),
        ({"settings": {"devices": "cpu"}}, ["settings.devices", "accelerator.kind"]),
        ({"settings": {"host": "127.0.0.1"}}, ["settings.host", "::"]),
        ({"canary": {"enabled": True, "settings": {"tokens": "/x"}}}, ["canary.settings.tokens", "tokens.secretName"]),
    ],
)
def test_settings_that_the_chart_makes_are_refused(
    refusal: Callable[..., str], values: dict[str, Any], words: list[str]
) -> None:
    message = refusal(values)

    assert all(word in message for word in words)


def test_ipv6_is_listened_on_where_it_is_asked_for(render: Callable[..., Any]) -> None:
    objects = render({"settings": {"host": "::", "http_host": "::"}})

    assert {"--host=::", "--http-host=::"} <= set(pod(objects)["containers"][0]["args"])
    assert "host" not in settings(objects)


@pytest.mark.parametrize(
    ("rollout", "words"),
    [
        ({"maxSurge": 0, "maxUnavailable": 0}, ["rollout.maxSurge", "rollout.maxUnavailable"]),
        ({"connectionAge": 10, "drainSeconds": 25}, ["rollout.connectionAge", "25"]),
    ],
)
def test_rollouts_that_could_not_end_are_refused(
    refusal: Callable[..., str], rollout: dict[str, Any], words: list[str]
) -> None:
    message = refusal({"rollout": rollout})

    assert all(word in message for word in words)


def test_replicas_are_spread_version_by_version(render: Callable[..., Any]) -> None:
    constraints = pod(render({"placement": {"spreadOver": ["kubernetes.io/hostname"]}}))["topologySpreadConstraints"]

    assert [one["topologyKey"] for one in constraints] == ["kubernetes.io/hostname"]
    assert constraints[0]["matchLabelKeys"] == ["pod-template-hash"]
    assert constraints[0]["labelSelector"]["matchLabels"]["lapis/track"] == "stable"


def test_replicas_need_not_be_spread(render: Callable[..., Any]) -> None:
    assert "topologySpreadConstraints" not in pod(render({"placement": {"spreadOver": []}}))


def test_placement_is_passed_on(render: Callable[..., Any]) -> None:
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}
    placement = {"nodeSelector": {"disk": "fast"}, "affinity": affinity, "priorityClassName": "high"}

    spec = pod(render({"placement": placement}))

    assert (spec["nodeSelector"], spec["affinity"], spec["priorityClassName"]) == ({"disk": "fast"}, affinity, "high")
