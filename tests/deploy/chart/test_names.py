"""Names and labels: whatever they are given, objects find each other, and each label stands once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

Objects: TypeAlias = Any


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("pictures", {}, "pictures-lapis"),
        ("my-lapis", {}, "my-lapis"),
        ("pictures.v2", {}, "pictures-v2-lapis"),
        ("pictures", {"nameOverride": "cats"}, "pictures-cats"),
        ("pictures", {"fullnameOverride": "cats"}, "cats"),
        ("1st", {"fullnameOverride": "first"}, "first"),
        ("p", {"fullnameOverride": "a" * 45 + ".-b"}, "a" * 45),
    ],
)
def test_all_is_named_after_the_release(
    render: Callable[..., Objects], release: str, values: dict[str, Any], name: str
) -> None:
    (deployment,) = render(values, release=release).of("Deployment")

    assert deployment["metadata"]["name"] == name


def test_a_name_that_no_service_may_have_is_refused(refusal: Callable[..., str]) -> None:
    message = refusal({}, release="1st")

    assert "fullnameOverride" in message
    assert "1st-lapis" in message


def test_of_labels_with_one_name_the_nearer_counts(render: Callable[..., Objects]) -> None:
    given = {
        "labels": {"team": "all", "app.kubernetes.io/part-of": "atlas"},
        "pod": {"labels": {"team": "pods"}},
        "monitoring": {
            "monitor": "pod",
            "labels": {"team": "prometheus"},
            "dashboard": {"enabled": True, "labels": {"team": "grafana"}},
        },
    }

    objects = render(given)

    deployment = objects.one("Deployment")
    labels = {
        "all": deployment["metadata"]["labels"],
        "pods": deployment["spec"]["template"]["metadata"]["labels"],
        "prometheus": objects.one("PodMonitor")["metadata"]["labels"],
        "grafana": objects.one("ConfigMap", "-dashboard")["metadata"]["labels"],
    }
    assert {team: one["team"] for team, one in labels.items()} == {team: team for team in labels}
    assert {one["app.kubernetes.io/part-of"] for one in labels.values()} == {"atlas"}


@pytest.mark.parametrize(
    "group", [("labels",), ("pod", "labels"), ("monitoring", "labels"), ("monitoring", "dashboard", "labels")]
)
@pytest.mark.parametrize("label", ["app.kubernetes.io/name", "lapis/track"])
def test_labels_by_which_objects_find_each_other_are_the_charts(
    refusal: Callable[..., str], group: tuple[str, ...], label: str
) -> None:
    values: dict[str, Any] = {label: "mine"}
    for name in reversed(group):
        values = {name: values}

    assert f"{'.'.join(group)}: {label} is the chart's own" in refusal(values)
