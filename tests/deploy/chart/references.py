"""What objects of a release say of each other, by name, port, key or label, and what of it leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Object = dict[str, Any]

REPLICAS = ("Deployment", "InferenceService", "ServingRuntime")


@dataclass
class Pod:
    """A pod as some object describes it."""

    owner: str
    labels: Mapping[str, str]
    spec: Object
    is_replica: bool

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """The numbers of its ports, by name."""
        return {port["name"]: port["containerPort"] for one in self.spec["containers"] for port in one.get("ports", [])}


def title(item: Object) -> str:
    return f"{item['kind']} {item['metadata']['name']}"


def pods(items: tuple[Object, ...]) -> Iterator[Pod]:
    for item in items:
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            yield Pod(title(item), template["metadata"]["labels"], template["spec"], is_replica=True)
        elif item["kind"] == "Pod":
            yield Pod(title(item), item["metadata"]["labels"], item["spec"], is_replica=False)
        elif item["kind"] in REPLICAS:
            spec = item["spec"].get("predictor", item["spec"])
            yield Pod(title(item), spec["labels"], spec, is_replica=True)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (with `matchLabels`, `matchExpressions: Exists`) takes these labels."""
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "Exists" for one in expressions)
    there = all(one["key"] in labels for one in expressions)
    return there and selector.get("matchLabels", {}).items() <= labels.items()


def strings(values: object) -> Iterator[str]:
    """All that is written in values, at any depth."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping):
        for part in values.values():
            yield from strings(part)
    elif isinstance(values, list):
        for part in values:
            yield from strings(part)


@dataclass
class Release:
    """The objects of a release, and the names of others that its values tell."""

    items: tuple[Object, ...]
    named: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pods = list(pods(self.items))
        self.replicas = [pod for pod in self.pods if pod.is_replica]
        self.services = {item["metadata"]["name"]: item for item in self.items if item["kind"] == "Service"}
        self.made = {(item["kind"], item["metadata"]["name"]) for item in self.items}
        # cert-manager makes the Secret that its Certificate names.
        certificates = [item for item in self.items if item["kind"] == "Certificate"]
        self.made |= {("Secret", item["spec"]["secretName"]) for item in certificates}
        # Every namespace has it.
        self.made.add(("ServiceAccount", "default"))

    def of(self, *kinds: str) -> list[Object]:
        return [item for item in self.items if item["kind"] in kinds]

    def dangling(self) -> list[str]:
        """Returns what leads nowhere, a sentence each."""
        found: list[str] = []
        for pod in self.pods:
            found += [f"{pod.owner}: {fault}" for fault in self._in_pod(pod)]
        checks = {
            ("Service",): self._service,
            ("HorizontalPodAutoscaler", "ScaledObject"): self._scaler,
            ("PodDisruptionBudget",): self._budget,
            ("NetworkPolicy",): self._policy,
            ("ServiceMonitor", "PodMonitor"): self._monitor,
            ("GRPCRoute", "HTTPRoute"): self._route,
            ("Ingress",): self._ingress,
        }
        for kinds, check in checks.items():
            for item in self.of(*kinds):
                found += [f"{title(item)}: {fault}" for fault in check(item)]
        return found + self._targets()

    def _is_there(self, kind: str, name: str) -> bool:
        return (kind, name) in self.made or name in self.named

    def _in_pod(self, pod: Pod) -> Iterator[str]:
        for kind, name in _mentioned(pod.spec):
            if not self._is_there(kind, name):
                yield f"there is no {kind} {name}"
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        if len(volumes) != len(pod.spec.get("volumes", [])):
            yield "two volumes have one name"
        for container in pod.containers:
            mounts = container.get("volumeMounts", [])
            yield from (f"no volume {one['name']}" for one in mounts if one["name"] not in volumes)
            yield from self._files(container, {one["mountPath"]: volumes.get(one["name"], {}) for one in mounts})
            yield from _probed(container)
        mounted = {one["name"] for container in pod.containers for one in container.get("volumeMounts", [])}
        yield from (f"volume {name} is mounted nowhere" for name in volumes.keys() - mounted)

    def _files(self, container: Object, mounts: Mapping[str, Object]) -> Iterator[str]:
        """Files that flags and settings name must be in a volume, by their very keys."""
        paths = {flag.partition("=")[2] for flag in container.get("args", []) if flag.partition("=")[2].startswith("/")}
        if "--config=/etc/lapis/lapis.yaml" in container.get("args", []):
            paths |= {value for value in strings(self._settings(mounts)) if value.startswith("/")}
        for path in sorted({part for several in paths for part in several.split(",")}):
            folder = next((mount for mount in mounts if path == mount or path.startswith(f"{mount}/")), None)
            if folder is None and path not in {"/models", "/mnt/models"}:  # in the image, or KServe's own
                yield f"{path} is in no volume"
            elif folder and not self._holds(mounts[folder], path.removeprefix(f"{folder}/")):
                yield f"{path} is not in its volume"

    def _settings(self, mounts: Mapping[str, Object]) -> object:
        name = mounts["/etc/lapis"]["configMap"]["name"]
        (config,) = [item for item in self.of("ConfigMap") if item["metadata"]["name"] == name]
        return yaml.safe_load(config["data"]["lapis.yaml"])

    def _holds(self, volume: Object, key: str) -> bool:
        """Whether a volume has a file; of what others make all is believed but what `items` leaves out."""
        sources = [one["secret"] for one in volume.get("projected", {}).get("sources", [])] or [
            volume.get("secret") or volume.get("configMap") or {}
        ]
        items = [item["path"] for source in sources for item in source.get("items", [])]
        made = [one for one in self.of("ConfigMap") if one["metadata"]["name"] == sources[0].get("name")]
        return (not items or key in items) and (not made or key in made[0]["data"])

    def _service(self, service: Object) -> Iterator[str]:
        led_to = [pod for pod in self.pods if service["spec"]["selector"].items() <= pod.labels.items()]
        if len(led_to) != 1 or not led_to[0].is_replica:
            yield f"leads to {[pod.owner for pod in led_to]}"
            return
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in led_to[0].ports:
                yield f"{led_to[0].owner} has no port {port['targetPort']}"

    def _scaler(self, item: Object) -> Iterator[str]:
        target = item["spec"]["scaleTargetRef"]
        found = [one for one in self.of(target.get("kind", "Deployment")) if one["metadata"]["name"] == target["name"]]
        if [one["apiVersion"] for one in found] != [target.get("apiVersion", "apps/v1")]:
            yield f"there is no {target}"

    def _budget(self, item: Object) -> Iterator[str]:
        bounded = [pod.owner for pod in self.pods if selects(item["spec"]["selector"], pod.labels)]
        if len(bounded) != 1:
            yield f"bounds {bounded}"

    def _policy(self, item: Object) -> Iterator[str]:
        covered = [pod for pod in self.pods if selects(item["spec"]["podSelector"], pod.labels)]
        if covered != self.replicas:
            yield f"covers {[pod.owner for pod in covered]}"
        ports = [port["port"] for rule in item["spec"]["ingress"] for port in rule["ports"]]
        yield from (f"{pod.owner} has no port {port}" for pod in covered for port in ports if port not in pod.ports)

    def _monitor(self, item: Object) -> Iterator[str]:
        """Of each track exactly one must be found, else replicas are scraped twice or not at all."""
        spec = item["spec"]
        if item["kind"] == "PodMonitor":
            found = [(pod.owner, pod.ports) for pod in self.pods if selects(spec["selector"], pod.labels)]
        else:
            services = [one for one in self.services.values() if selects(spec["selector"], one["metadata"]["labels"])]
            found = [(title(one), {port["name"]: port["port"] for port in one["spec"]["ports"]}) for one in services]
        if len(found) != len(self.replicas):
            yield f"finds {[name for name, _ in found]}"
        for endpoint in spec.get("endpoints") or spec["podMetricsEndpoints"]:
            yield from (
                f"{name} has no port {endpoint['port']}" for name, ports in found if endpoint["port"] not in ports
            )

    def _route(self, item: Object) -> Iterator[str]:
        for backend in [backend for rule in item["spec"]["rules"] for backend in rule["backendRefs"]]:
            if not self._serves(backend["name"], number=backend["port"]):
                yield f"there is no Service {backend['name']} with port {backend['port']}"
        for rule in item["spec"]["rules"]:
            shares = [backend["weight"] for backend in rule["backendRefs"] if "weight" in backend]
            if shares and sum(shares) != 100:
                yield f"the shares {shares} are no percents"

    def _ingress(self, item: Object) -> Iterator[str]:
        for backend in [path["backend"]["service"] for rule in item["spec"]["rules"] for path in rule["http"]["paths"]]:
            if not self._serves(backend["name"], name=backend["port"]["name"]):
                yield f"there is no Service {backend['name']} with port {backend['port']}"
        for secret in [one["secretName"] for one in item["spec"].get("tls", [])]:
            if not self._is_there("Secret", secret):
                yield f"there is no Secret {secret}"

    def _serves(self, service: str, *, number: int | None = None, name: str | None = None) -> bool:
        ports = self.services.get(service, {"spec": {"ports": []}})["spec"]["ports"]
        return any((number is None or one["port"] == number) and (name is None or one["name"] == name) for one in ports)

    def _targets(self) -> list[str]:
        """Addresses that stand in texts: of the client's ConfigMap, and of the test."""
        texts = [item["data"]["target"] for item in self.of("ConfigMap") if "target" in item["data"]]
        texts += [flag for pod in self.pods for one in pod.containers for flag in one.get("args", [])]
        addresses = [match.groups() for text in texts for match in re.finditer(r"([\w.-]+)\.studio\.svc:(\d+)", text)]
        return [f"nothing is at {name}:{port}" for name, port in addresses if not self._serves(name, number=int(port))]


def _mentioned(spec: Object) -> Iterator[tuple[str, str]]:
    """The objects that a pod needs."""
    if "serviceAccountName" in spec:
        yield "ServiceAccount", spec["serviceAccountName"]
    yield from (("Secret", one["name"]) for one in spec.get("imagePullSecrets", []))
    for volume in spec.get("volumes", []):
        yield from _in_volume(volume)
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from _in_environment(container)


def _in_volume(volume: Object) -> Iterator[tuple[str, str]]:
    if "configMap" in volume:
        yield "ConfigMap", volume["configMap"]["name"]
    if "secret" in volume:
        yield "Secret", volume["secret"]["secretName"]
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for source in volume.get("projected", {}).get("sources", []):
        yield "Secret", source["secret"]["name"]


def _in_environment(container: Object) -> Iterator[tuple[str, str]]:
    kinds = {"secretRef": "Secret", "configMapRef": "ConfigMap", "secretKeyRef": "Secret"}
    sources = [*container.get("envFrom", []), *(one.get("valueFrom", {}) for one in container.get("env", []))]
    for source in sources:
        yield from ((kinds[key], reference["name"]) for key, reference in source.items())


def _probed(container: Object) -> Iterator[str]:
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    for probe in [container[name] for name in container if name.endswith("Probe")]:
        port = probe["httpGet"]["port"] if "httpGet" in probe else probe["grpc"]["port"]
        if port not in ports and port not in ports.values():
            yield f"a probe asks port {port}, which is none"
