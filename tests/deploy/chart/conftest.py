"""The chart as Helm renders it.

`render(values)` returns the objects of a release: `.one("Deployment")`, `.one("Service", "-headless")`,
`.of("Service")`, `.kinds`, `.all`. `profile="cpu"` puts `values-cpu.yaml` under the values; `kube="1.29"` renders for
that Kubernetes; `helm="3"` takes the older Helm. `refusal(values)` is what Helm says of values that must not render.
What is rendered is kept for the session: don't change it.

    def test_replicas_are_set_where_nothing_scales(render):
        assert render({"replicas": 3}).one("Deployment")["spec"]["replicas"] == 3
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from tests.deploy.chart.combinations import COMBINATIONS, KUBES

CHART = Path(__file__).parents[3] / "deploy/helm/lapis"

Object = dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """Reads YAML as strictly as Kubernetes: a key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} stands twice in one mapping: {node.start_mark}"
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Objects:
    """What a rendering consists of."""

    text: str
    all: tuple[Object, ...]
    fullname: str

    @property
    def kinds(self) -> set[str]:
        return {item["kind"] for item in self.all}

    def of(self, kind: str) -> list[Object]:
        return [item for item in self.all if item["kind"] == kind]

    def one(self, kind: str, ending: str = "") -> Object:
        """Returns the object of a kind that is named as the release and an ending."""
        name = f"{self.fullname}{ending}"
        found = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        there = [f"{item['kind']} {item['metadata']['name']}" for item in self.all]
        assert len(found) == 1, f"{len(found)} of {kind} {name}; there are {there}"
        return found[0]


class Render(Protocol):
    def __call__(
        self,
        values: Mapping[str, Any] = ...,
        *,
        profile: str | None = None,
        release: str = ...,
        namespace: str = ...,
        kube: str = ...,
        helm: str = ...,
    ) -> Objects: ...


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_helm(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs `helm ARGUMENTS`, of Helm 4 or 3, with values as the last file of values."""
    folder = tmp_path_factory.mktemp("helm")

    def run(
        *arguments: str, values: Mapping[str, Any] | None = None, helm: str = "4"
    ) -> subprocess.CompletedProcess[str]:
        command = [tool("helm" if helm == "4" else "helm3"), *arguments]
        if values is not None:
            command += ["--values", "-"]
        given = json.dumps(values) if values is not None else None
        # Of the machine's own settings and plugins nothing is to be seen.
        environment = {"HOME": str(folder), "HELM_NAMESPACE": "default"}
        return subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def template(run_helm: Run) -> Run:
    """Runs `helm template` over values."""

    def run(
        values: Mapping[str, Any],
        *,
        profile: str | None = None,
        release: str = "pictures",
        namespace: str = "studio",
        kube: str = "1.33",
        helm: str = "4",
        more: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        under = ["--values", str(CHART / f"values-{profile}.yaml")] if profile else []
        where = ["--namespace", namespace, "--kube-version", kube]
        return run_helm("template", release, str(CHART), *where, *under, *more, values=values, helm=helm)

    return run


@pytest.fixture(scope="session")
def render(template: Run) -> Render:
    @functools.cache
    def rendered(values: str, release: str, **where: str | None) -> Objects:
        ran = template(json.loads(values), release=release, **where)
        assert ran.returncode == 0, f"{ran.stderr}\nof {values}"
        return Objects(ran.stdout, _parsed(ran.stdout), _fullname(json.loads(values), release))

    def render(values: Mapping[str, Any] | None = None, *, release: str = "pictures", **where: str | None) -> Objects:
        return rendered(json.dumps(values or {}, sort_keys=True), release, **where)

    return render


@pytest.fixture(scope="session")
def rendered(render: Render) -> Callable[[str], dict[str, Objects]]:
    """Renders a combination, once: by version of Kubernetes with Helm 4, and as `helm 3`."""

    @functools.cache
    def by_version(name: str) -> dict[str, Objects]:
        one = COMBINATIONS[name]
        versions = [kube for kube in KUBES if kube != "1.29" or not one.mounts_an_image]
        asked = {kube: {"kube": kube} for kube in versions} | {"helm 3": {"helm": "3"}}
        with ThreadPoolExecutor() as threads:
            found = {
                key: threads.submit(render, one.values, profile=one.profile, release=one.release, **how)
                for key, how in asked.items()
            }
        return {key: future.result() for key, future in found.items()}

    return by_version


@functools.cache
def _parsed(text: str) -> tuple[Object, ...]:
    return tuple(item for item in yaml.load_all(text, _Loader) if item)


@pytest.fixture(scope="session")
def refusal(template: Run) -> Callable[..., str]:
    def refusal(values: Mapping[str, Any], **where: str) -> str:
        ran = template(values, **where)
        assert ran.returncode != 0, f"{values} renders"
        return ran.stderr

    return refusal


def _fullname(values: Mapping[str, Any], release: str) -> str:
    name = (values.get("nameOverride") or "lapis")[:58].strip("-.")
    whole = release if name in release else f"{release}-{name}"
    return (values.get("fullnameOverride") or whole).replace(".", "-")[:46].strip("-")
