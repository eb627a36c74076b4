"""The chart as the cluster gets it: what scales, by which PromQL, and the rules."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.errors import BenchError
from bench.scaling.autoscaler import Behaviour, behaviour

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "lapis"
RELEASE = "pictures"
NAMESPACE = "studio"


@dataclass(frozen=True)
class Trigger:
    """A measure of a ScaledObject: its PromQL, and how much of it each replica may have."""

    query: str
    threshold: float


@dataclass(frozen=True)
class Scaling:
    """What the chart renders for scaling: the Deployment's name, the triggers, the bounds, and the rules' groups."""

    name: str
    triggers: list[Trigger]
    behaviour: Behaviour
    groups: list[dict[str, Any]]

    @property
    def labels(self) -> dict[str, str]:
        """The labels that the chart's monitors give to a replica's series."""
        return {"job": self.name, "namespace": NAMESPACE, "track": "stable"}

    def write_rules(self, path: Path) -> Path:
        """Writes the rules in Prometheus' own form."""
        path.write_text(yaml.safe_dump({"groups": self.groups}), encoding="utf-8")
        return path


def render(*sets: str, helm: str = "helm") -> list[dict[str, Any]]:
    """Returns all that the chart renders with `--set` of these; raises BenchError where helm is missing or refuses."""
    if not (program := shutil.which(helm)):
        raise BenchError("helm is not installed; `make chart` puts it into the environment")
    flags = [part for one in sets for part in ("--set", one)]
    command = [program, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own command)
    if done.returncode:
        raise BenchError(done.stderr.strip())
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def scaling(*sets: str, helm: str = "helm") -> Scaling:
    """Returns what scales a release whose ScaledObject and rules are switched on."""
    switches = (
        "autoscaling.kind=keda",
        "autoscaling.keda.prometheus=http://prometheus:9090",
        "monitoring.monitor=pod",
        "monitoring.rules.enabled=true",
    )
    found = {one["kind"]: one for one in render(*switches, *sets, helm=helm)}
    spec = found["ScaledObject"]["spec"]
    within = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    bounds = {"minReplicas": spec.get("minReplicaCount", 1), "maxReplicas": spec["maxReplicaCount"]}
    return Scaling(
        spec["scaleTargetRef"]["name"],
        [Trigger(one["metadata"]["query"], float(one["metadata"]["threshold"])) for one in spec["triggers"]],
        behaviour({**bounds, "behavior": within.get("behavior", {})}),
        found["PrometheusRule"]["spec"]["groups"],
    )
