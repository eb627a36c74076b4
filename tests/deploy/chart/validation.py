"""What Kubernetes and the operators' own schemas say of objects: unknown fields are faults as well as wrong ones."""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
from referencing import Registry, Resource

Object = dict[str, Any]

CUSTOM = {
    "BackendTLSPolicy": "gateway-api",
    "Certificate": "cert-manager",
    "GRPCRoute": "gateway-api",
    "HTTPRoute": "gateway-api",
    "PodMonitor": "prometheus-operator",
    "PrometheusRule": "prometheus-operator",
    "ScaledObject": "keda",
    "ServiceMonitor": "prometheus-operator",
}
# KServe publishes its schemas with its manifests alone, in no package. What of its objects is a pod is checked as one;
# these are the fields beside it, as https://kserve.github.io/website/docs/reference/crd-api lists them.
KSERVE = {
    "InferenceService": {"minReplicas", "maxReplicas", "deploymentStrategy", "labels", "annotations"},
    "ServingRuntime": {"supportedModelFormats", "multiModel", "labels", "annotations"},
}
_SCHEMAS = importlib.resources.files(kubernetes_validate) / "kubernetes-json-schema"


@functools.cache
def _registry(kube: str) -> Registry[Any]:
    """Reads the definitions of a version once: the package itself reads them again for every object."""
    definitions = json.loads((_SCHEMAS / f"v{kube}.0-local-strict/_definitions.json").read_text())
    return Registry().with_resource(definitions.get("$id", "_definitions.json"), Resource.from_contents(definitions))


@functools.cache
def _validator(kube: str, api_version: str, kind: str) -> jsonschema.protocols.Validator | None:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    file = _SCHEMAS / f"v{kube}.0-local-strict/{kind.lower()}-{group}.json"
    if not file.is_file():
        return None
    schema = json.loads(file.read_text())
    return jsonschema.Draft202012Validator(schema, registry=_registry(kube))


def kubernetes_faults(item: Object, kube: str) -> list[str]:
    """Returns what a version of Kubernetes would refuse an object of its own for."""
    return list(_kubernetes_faults(json.dumps(item, sort_keys=True), kube))


@functools.cache
def _kubernetes_faults(text: str, kube: str) -> tuple[str, ...]:
    item = json.loads(text)
    validator = _validator(kube, item["apiVersion"], item["kind"])
    if validator is None:
        return (f"{item['apiVersion']} {item['kind']}: no schema",)
    name = f"{item['kind']} {item['metadata']['name']}"
    return tuple(f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(item))


def custom_faults(items: Sequence[Object], tool: Callable[[str], str]) -> list[list[str]]:
    """Returns for each custom resource what its operator's schema refuses it for."""
    command = [tool("node"), str(Path(__file__).with_name("validate.mjs")), tool("node_modules")]
    ran = subprocess.run(command, input=json.dumps(items), capture_output=True, text=True, check=True)
    found: list[list[str]] = json.loads(ran.stdout)
    return found


def kserve_faults(item: Object, kube: str) -> list[str]:
    """Returns what is wrong with the pod in an object of KServe's."""
    spec = item["spec"]["predictor"] if item["kind"] == "InferenceService" else item["spec"]
    pod = {key: part for key, part in spec.items() if key not in KSERVE[item["kind"]]}
    metadata = {"name": item["metadata"]["name"], "labels": spec["labels"], "annotations": spec["annotations"]}
    return kubernetes_faults({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}, kube)
