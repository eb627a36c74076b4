"""The chart with every feature on and off, and in mixes: what it renders is what clusters take, and holds together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from tests.deploy.chart.combinations import COMBINATIONS, KUBES, pairs
from tests.deploy.chart.conftest import CHART
from tests.deploy.chart.references import Release, strings, title
from tests.deploy.chart.references import pods as pods_of
from tests.deploy.chart.validation import CUSTOM, KSERVE, custom_faults, kserve_faults, kubernetes_faults

Objects: TypeAlias = Any
Rendered: TypeAlias = Callable[[str], dict[str, Objects]]

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

every_combination = pytest.mark.parametrize("name", COMBINATIONS)


def of_every_version(objects: dict[str, Objects]) -> Iterator[tuple[str, dict[str, Any]]]:
    for kube in KUBES:
        if kube in objects:
            yield from ((kube, item) for item in objects[kube].all)


@every_combination
def test_kubernetes_takes_all_of_its_kinds(rendered: Rendered, name: str) -> None:
    faults = []
    for kube, item in of_every_version(rendered(name)):
        if item["kind"] not in CUSTOM.keys() | KSERVE.keys():
            faults += [f"{kube}: {fault}" for fault in kubernetes_faults(item, kube)]

    assert not faults


def test_operators_take_their_kinds(rendered: Rendered, tool: Callable[[str], str]) -> None:
    found = {
        json.dumps(item, sort_keys=True)
        for name in COMBINATIONS
        for _, item in of_every_version(rendered(name))
        if item["kind"] in CUSTOM
    }
    items = [json.loads(text) for text in sorted(found)]

    faults = custom_faults(items, tool)

    assert {item["kind"] for item in items} == CUSTOM.keys()
    assert len(items) > 60
    assert not [f"{title(item)}: {told}" for item, told in zip(items, faults, strict=True) if told]


@every_combination
def test_what_kserve_is_given_is_a_pod(rendered: Rendered, name: str) -> None:
    for kube, item in of_every_version(rendered(name)):
        if item["kind"] in KSERVE:
            assert not kserve_faults(item, kube)


def test_every_kind_is_somewhere(rendered: Rendered) -> None:
    """A kind that no combination renders would not be checked at all."""
    kinds = {item["kind"] for name in COMBINATIONS for item in rendered(name)["1.33"].all}

    written = {kind for file in _templates() for kind in re.findall(r"^kind: (\w+)", file, re.MULTILINE)}
    assert written <= kinds
    assert CUSTOM.keys() | KSERVE.keys() <= written


def _templates() -> list[str]:
    return [path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kube", KUBES)
def test_kubernetes_refuses_what_is_wrong(rendered: Rendered, kube: str) -> None:
    for kind in ("Deployment", "Service", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Pod"):
        item = rendered("plain")[kube].of(kind)[0]
        assert any("surprise" in fault for fault in kubernetes_faults({**item, "surprise": 1}, kube))
    deployment = json.loads(json.dumps(rendered("plain")[kube].one("Deployment")))
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "grpc"
    assert any("containerPort" in fault for fault in kubernetes_faults(deployment, kube))


def test_operators_refuse_what_is_wrong(rendered: Rendered, tool: Callable[[str], str]) -> None:
    items = {item["kind"]: item for name in COMBINATIONS for item in rendered(name)["1.33"].all}
    good = [items[kind] for kind in sorted(CUSTOM)]
    surprised = [{**item, "spec": {**item["spec"], "surprise": 1}} for item in good]
    wrong = [{**item, "metadata": {**item["metadata"], "labels": {"a": 1}}} for item in good]
    misspelt = [{**{key: part for key, part in item.items() if key != "spec"}, "spek": item["spec"]} for item in good]

    assert not any(custom_faults(good, tool))
    assert custom_faults(surprised, tool) == [["/spec/surprise is no field"] for _ in good]
    assert all(custom_faults(wrong, tool))
    assert all(custom_faults(misspelt, tool))
    assert custom_faults([{**good[0], "kind": "Issuance"}], tool) == [["no schema"]]


def test_images_are_not_mounted_where_they_cannot_be(refusal: Callable[..., str]) -> None:
    mounting = [one for one in COMBINATIONS.values() if one.mounts_an_image]
    assert len(mounting) > 3
    for one in mounting:
        message = refusal(one.values, kube="1.29", release=one.release, profile=one.profile)
        assert "needs Kubernetes 1.35, or 1.33 with the feature gate" in message


@every_combination
def test_helm_3_renders_the_same(rendered: Rendered, name: str) -> None:
    objects = rendered(name)

    assert objects["helm 3"].all == objects["1.33"].all


@every_combination
def test_references_lead_somewhere(rendered: Rendered, name: str) -> None:
    one = COMBINATIONS[name]

    for objects in rendered(name).values():
        assert not Release(objects.all, set(strings(one.values))).dangling()


@every_combination
def test_no_two_objects_are_one(rendered: Rendered, name: str) -> None:
    items = [title(item) for item in rendered(name)["1.33"].all]

    assert len(items) == len(set(items))


@every_combination
def test_images_are_the_same_tomorrow(rendered: Rendered, name: str) -> None:
    spoken = [pod.spec for pod in pods_of(rendered(name)["1.33"].all)]
    images = [one["image"] for spec in spoken for one in [*spec.get("initContainers", []), *spec["containers"]]]
    images += [one["image"]["reference"] for spec in spoken for one in spec["volumes"] if "image" in one]

    assert len(images) >= 1
    for image in images:
        tag = re.search(r":([^/:@]+)$|@sha256:[0-9a-f]{64}$", image)
        assert tag, image
        assert tag[1] != "latest"


@every_combination
def test_names_and_labels_are_what_kubernetes_takes(rendered: Rendered, name: str) -> None:
    for item in rendered(name)["1.33"].all:
        allowed = SERVICE_NAME if item["kind"] == "Service" else LABEL
        assert allowed.fullmatch(item["metadata"]["name"]), title(item)
        for label, value in labels(item):
            assert LABEL_VALUE.fullmatch(value), f"{title(item)}: {label}: {value}"
    for pod in pods_of(rendered(name)["1.33"].all):
        assert all(LABEL.fullmatch(volume["name"]) for volume in pod.spec["volumes"])
        assert all(len(port) <= 15 for port in pod.ports)


def labels(part: object) -> Iterator[tuple[str, str]]:
    """Labels of an object and selectors in it, at any depth."""
    if isinstance(part, dict):
        for key, inner in part.items():
            if key in {"labels", "matchLabels"}:
                yield from inner.items()
            else:
                yield from labels(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from labels(inner)


def test_the_longest_names_differ_still(rendered: Rendered) -> None:
    """What is cut must be cut before the ending."""
    long, short = rendered("longest name")["1.33"].all, rendered("everything")["1.33"].all

    assert len({title(item) for item in long}) == len({title(item) for item in short}) == len(long)


def test_every_two_options_that_go_together_meet() -> None:
    mixes = [one.options.items() for one in COMBINATIONS.values() if one.options]

    assert len(pairs()) > 2000
    assert not [pair for pair in pairs() if not any(set(pair) <= options for options in mixes)]
