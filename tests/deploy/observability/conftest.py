"""The chart's rules and dashboard as they are rendered, promtool, and what the service really tells."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from bench.prometheus import find
from service.edge.certificate import CertificateExpiry
from service.telemetry.build import BuildInfo
from service.telemetry.instruments import SupervisorInstruments
from service.telemetry.metrics import Metrics
from service.telemetry.nvml import GpuCollector

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/lapis"
RUNBOOKS = ROOT / "deploy/runbooks.md"

NAMESPACE, JOB = "studio", "pictures-lapis"
# All that the chart can watch, switched on.
EVERYTHING = {
    "accelerator": {"kind": "gpu"},
    "autoscaling": {"kind": "hpa"},
    "canary": {"enabled": True},
    "tls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "ca"}}},
    "monitoring": {"rules": {"enabled": True}, "dashboard": {"enabled": True}},
}


def module_at(path: str) -> ModuleType:
    """Loads what the service's own tests made of servers and drivers."""
    spec = importlib.util.spec_from_file_location(f"shared_{Path(path).stem}", ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_models = module_at("tests/service/conftest.py")
write_model = _models.write_model


@pytest.fixture(scope="session")
def described() -> Callable[..., dict[str, Any]]:
    """Makes the metadata that export writes of a model."""
    made: Callable[..., dict[str, Any]] = _models.described
    return made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as it is given to servers with TLS."""
    made: Path = (
        module_at("tests/service/certificates.py").Authority(tmp_path_factory.mktemp("ca")).issue("a").certificate
    )
    return made


@pytest.fixture(scope="session")
def driver() -> ModuleType:
    """The module with a made-up NVML: `Driver` and the UUID `A` of one of its GPUs."""
    return module_at("tests/service/telemetry/test_nvml.py")


Values = Mapping[str, Any]
Rendered = dict[str, dict[str, Any]]
Render = Callable[..., Rendered]


def merged(values: Values, more: Values) -> dict[str, Any]:
    """Puts some values over others, key by key."""
    both = dict(values)
    for key, value in more.items():
        both[key] = merged(both.get(key, {}), value) if isinstance(value, Mapping) else value
    return both


@pytest.fixture(scope="session")
def helm() -> str:
    if not (found := shutil.which("helm", path=f"{sys.prefix}/bin:{os.environ['PATH']}")):
        pytest.skip("helm is not installed; deploy/tools.py brings it")
    return found


@pytest.fixture(scope="session")
def template(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `helm template` over values."""

    def run(values: Values, release: str = "pictures", namespace: str = NAMESPACE) -> subprocess.CompletedProcess[str]:
        path = tmp_path_factory.mktemp("values") / "values.yaml"
        path.write_text(yaml.safe_dump(dict(values)))
        command = [helm, "template", release, str(CHART), "--namespace", namespace, "--values", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def render(template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Renders the chart; returns its rules and its dashboard's ConfigMap by kind."""

    def run(values: Values, **release: str) -> Rendered:
        done = template(values, **release)
        assert done.returncode == 0, done.stderr
        objects = [one for one in yaml.safe_load_all(done.stdout) if one]
        return {
            one["kind"]: one
            for one in objects
            if one["kind"] == "PrometheusRule" or one["metadata"]["name"].endswith("-dashboard")
        }

    return run


@pytest.fixture(scope="session")
def rules(render: Render) -> Callable[[Values], dict[str, Any]]:
    """Renders the rules alone, in Prometheus' own form; the same values are rendered once."""
    known: dict[str, dict[str, Any]] = {}

    def run(values: Values) -> dict[str, Any]:
        watched = merged({"monitoring": {"rules": {"enabled": True}}}, values)
        key = yaml.safe_dump(watched)
        if key not in known:
            known[key] = render(watched)["PrometheusRule"]["spec"]
        return known[key]

    return run


@pytest.fixture(scope="session")
def every_rule(rules: Callable[[Values], dict[str, Any]]) -> list[dict[str, Any]]:
    """All rules that there can be, in each form of those that have several."""
    scaled = [{"kind": "hpa"}, {"kind": "keda", "keda": {"prometheus": "http://prometheus:9090"}}, {"kind": "none"}]
    forms = [rules(merged(EVERYTHING, {"autoscaling": one})) for one in scaled]
    return [rule for form in forms for group in form["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def promtool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs promtool; what it says is in stdout and stderr together."""
    if not (found := find("promtool")):
        pytest.skip("promtool is not installed; deploy/tools.py brings it")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [found, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def told() -> dict[str, set[str]]:
    """Every series of the service's, by name, with the labels that it has of itself."""
    registry = CollectorRegistry()
    SupervisorInstruments(registry)
    gpus = {family.name: {"device", "gpu_uuid"} for family in GpuCollector(()).describe()}
    series: dict[str, set[str]] = dict(gpus)
    server = Metrics().registry
    server.register(BuildInfo())
    for families in (server, registry):
        for name, collector in families._names_to_collectors.items():
            if not name.endswith("_created"):
                labels = set(getattr(collector, "_labelnames", ()))
                series[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    series |= {family.name: set() for family in CertificateExpiry(None).collect()}
    # Those of the library, which says what there is only when it is asked for all.
    for sample in (sample for family in server.collect() for sample in family.samples):
        series.setdefault(sample.name, set(sample.labels))
    return series


@pytest.fixture(scope="session")
def selectors() -> Callable[[str], list[tuple[str, dict[str, str]]]]:
    """Finds the series that an expression selects: pairs of a name and what its labels are to be."""

    def find(promql: str) -> list[tuple[str, dict[str, str]]]:
        return [
            (name, dict(re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', braces)))
            for name, braces in re.findall(r"\b([a-zA-Z_:][\w:]*)\{([^}]*)\}", promql)
        ]

    return find


@pytest.fixture(scope="session")
def dashboard() -> dict[str, Any]:
    shown: dict[str, Any] = json.loads((CHART / "files/dashboard.json").read_text())
    return shown


@pytest.fixture(scope="session")
def dashboard_queries(dashboard: dict[str, Any]) -> list[str]:
    """Every query of the dashboard, those of its annotations with them."""
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [one["expr"] for one in (*targets, *dashboard["annotations"]["list"])]


@pytest.fixture(scope="session")
def runbook_queries() -> dict[str, list[str]]:
    """Every query of the runbooks, by alert."""
    sections = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOKS.read_text(), re.MULTILINE | re.DOTALL)
    return {alert: re.findall(r"^```promql\n(.*?)\n```", text, re.MULTILINE | re.DOTALL) for alert, text in sections}
