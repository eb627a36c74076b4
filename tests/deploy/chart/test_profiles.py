"""The ready profiles: each does what it is there for, and differs from the defaults in nothing that it repeats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from service.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Callable

CHART = Path(__file__).parents[3] / "deploy/helm/lapis"
PROFILES = sorted(path.stem.removeprefix("values-") for path in CHART.glob("values-*.yaml"))


def test_there_are_the_four() -> None:
    assert PROFILES == ["canary", "cpu", "gpu", "mig"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kube", ["1.29", "1.37"])
def test_each_renders_as_it_is(render: Callable[..., Any], profile: str, kube: str) -> None:
    assert render(profile=profile, kube=kube).of("Deployment")


@pytest.mark.parametrize("profile", PROFILES)
def test_each_has_only_values_that_the_chart_has(profile: str) -> None:
    known = yaml.safe_load((CHART / "values.yaml").read_text())
    values = yaml.safe_load((CHART / f"values-{profile}.yaml").read_text())

    assert not list(unknown(values, known))


def unknown(values: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """Returns the names in `values` that are not in `known`; what is empty there may have any."""
    names = [name for name in values if known and name not in known]
    for name, value in values.items():
        if isinstance(value, dict) and isinstance(known.get(name), dict):
            names += unknown(value, known[name])
    return names


def test_cpu_fits_a_laptop_and_keeps_its_requests_within_its_memory(render: Callable[..., Any]) -> None:
    objects = render(profile="cpu")

    spec = objects.one("Deployment")["spec"]
    limits = spec["template"]["spec"]["containers"][0]["resources"]["limits"]
    settings = ServeSettings(**yaml.safe_load(objects.one("ConfigMap", "-settings")["data"]["lapis.yaml"]))
    assert spec["replicas"] == 1
    # What the bundled model takes in all, measured, is less than 512 MiB.
    assert settings.max_total_queue_bytes + 512 * 2**20 < int(limits["memory"].removesuffix("Gi")) * 2**30


def test_gpu_scales_itself(render: Callable[..., Any]) -> None:
    objects = render(profile="gpu")

    limits = objects.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == 1
    assert "replicas" not in objects.one("Deployment")["spec"]
    assert {"ScaledObject", "PodMonitor", "PrometheusRule"} <= objects.kinds


def test_mig_replaces_a_replica_where_no_slice_is_free(render: Callable[..., Any]) -> None:
    spec = render(profile="mig").one("Deployment")["spec"]

    assert spec["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 1
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_canary_goes_on_top_of_any_other(render: Callable[..., Any]) -> None:
    objects = render({"accelerator": {"kind": "gpu"}, "canary": {"image": {"tag": "2"}}}, profile="canary")

    canary = objects.one("Deployment", "-canary")["spec"]["template"]["spec"]["containers"][0]
    assert canary["image"] == "lapis:2"
    assert canary["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert canary["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_canary_changes_nothing_else_of_a_release(render: Callable[..., Any]) -> None:
    gateway = {"enabled": True, "parentRefs": [{"name": "theirs"}], "hostnames": ["p.example.com"]}
    values = {"gateway": gateway, "monitoring": {"monitor": "service"}}
    before, after = render(values), render(values, profile="canary")

    assert after.one("GRPCRoute")["spec"]["parentRefs"] == [{"name": "theirs"}]
    stable = [one for one in after.all if "canary" not in one["metadata"]["name"] and one["kind"] != "GRPCRoute"]
    assert stable == [one for one in before.all if one["kind"] != "GRPCRoute"]
