"""No value is there for nothing: another one makes another rendering, wherever the value matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import yaml

from service.settings import ServeSettings
from tests.deploy.chart.combinations import AFFINITY, DIGEST, GATEWAY, ISSUER, PEER, STATUS, SUM, Values, laid_over
from tests.deploy.chart.schema import SCHEMA, VALUES

Objects: TypeAlias = Any


def set_to(name: str, value: object) -> Values:
    """Returns values in which a single one, named as after `--set`, is set."""
    values: Any = value
    for key in reversed(name.split(".")):
        values = {key: values}
    return dict(values)


def all_set(**values: object) -> Values:
    """As `set_to`, of several; `__` stands for the dot."""
    whole: Values = {}
    for name, value in values.items():
        whole = laid_over(whole, set_to(name.replace("__", "."), value))
    return whole


GPU = all_set(accelerator__kind="gpu")
MIG = all_set(accelerator__kind="mig", accelerator__migProfile="1g.10gb")
TENSORRT = all_set(accelerator__kind="gpu", accelerator__tensorrt__enabled=True)
CACHE = laid_over(TENSORRT, all_set(accelerator__engineCache__enabled=True))
IMAGE = all_set(model__source="image", model__image__reference="r.example/facades:3")
CLAIM = all_set(model__source="claim", model__claim__name="models")
DOWNLOAD = all_set(model__source="download", model__download__url="s3://bucket/models")
RULES = all_set(monitoring__rules__enabled=True)
DASHBOARD = all_set(monitoring__dashboard__enabled=True)
MONITOR = all_set(monitoring__monitor="pod")
HPA = laid_over(RULES, all_set(autoscaling__kind="hpa"))
KEDA = all_set(autoscaling__kind="keda", autoscaling__keda__prometheus="http://prometheus:9090")
CANARY = all_set(canary__enabled=True)
WAY_IN = {"gateway": GATEWAY}
INGRESS = all_set(ingress__enabled=True, ingress__host="p.example.com")
TLS = all_set(tls__enabled=True, tls__secretName="certificate")
MADE_TLS = all_set(tls__enabled=True, tls__certManager__enabled=True, tls__certManager__issuerRef=ISSUER)

# Each value's other value, and where it matters. A third part is what must be set with it.
CHANGES: dict[str, tuple[Any, Values] | tuple[Any, Values, Values]] = {
    "nameOverride": ("cats", {}),
    "fullnameOverride": ("cats", {}),
    "labels": ({"team": "maps"}, {}),
    "image.repository": ("r.example/lapis", {}),
    "image.tag": ("7", {}),
    "image.digest": (DIGEST, {}),
    "image.pullPolicy": ("Always", {}),
    "image.pullSecrets": (["registry"], {}),
    "accelerator.kind": ("gpu", {}),
    "accelerator.count": (2, GPU),
    "accelerator.migProfile": ("2g.20gb", MIG),
    "accelerator.resource": ("example.com/gpu", GPU),
    "accelerator.product": ("NVIDIA-L4", GPU),
    "accelerator.runtimeClassName": ("nvidia", GPU),
    "accelerator.tensorrt.enabled": (True, GPU),
    "accelerator.tensorrt.fp16": (True, TENSORRT),
    "accelerator.engineCache.enabled": (True, TENSORRT),
    "accelerator.engineCache.existingClaim": ("engines", CACHE),
    "accelerator.engineCache.size": ("9Gi", CACHE),
    "accelerator.engineCache.storageClass": ("fast", CACHE),
    "accelerator.engineCache.accessModes": (["ReadWriteOnce"], CACHE),
    "resources": ({"limits": {"memory": "9Gi"}}, {}),
    "model.source": ("claim", {}, {"model": {"claim": {"name": "models"}}}),
    "model.image.reference": ("r.example/facades:4", IMAGE),
    "model.image.pullPolicy": ("Always", IMAGE),
    "model.image.subPath": ("live", IMAGE),
    "model.claim.name": ("others", CLAIM),
    "model.claim.subPath": ("live", CLAIM),
    "model.download.url": ("gs://bucket/models", DOWNLOAD),
    "model.download.sha256": (SUM, DOWNLOAD),
    "model.download.as": ("facades/3", DOWNLOAD),
    "model.download.endpoint": ("http://minio:9000", DOWNLOAD),
    "model.download.secretName": ("bucket-keys", DOWNLOAD),
    "model.download.sizeLimit": ("9Gi", DOWNLOAD),
    "model.default": ("facades", {}),
    "settings": ({"max_batch_size": 16}, {}),
    "replicas": (7, {}),
    "autoscaling.kind": ("hpa", RULES),
    "autoscaling.minReplicas": (3, HPA),
    "autoscaling.maxReplicas": (30, HPA),
    "autoscaling.busy.target": (0.5, HPA),
    "autoscaling.queue.target": (0.5, HPA),
    "autoscaling.scaleUpWindow": (9, HPA),
    "autoscaling.scaleDownWindow": (9, HPA),
    "autoscaling.keda.prometheus": ("http://elsewhere:9090", KEDA),
    "autoscaling.keda.pollingInterval": (9, KEDA),
    "autoscaling.keda.fallbackReplicas": (9, KEDA),
    "autoscaling.keda.authentication": ("bearer", KEDA),
    "autoscaling.keda.authModes": ("bearer", laid_over(KEDA, all_set(autoscaling__keda__authentication="bearer"))),
    "canary.enabled": (True, {}),
    "canary.weight": (33, laid_over(CANARY, WAY_IN)),
    "canary.replicas": (3, CANARY),
    "canary.image": ({"tag": "7"}, CANARY),
    "canary.model": ({"default": "facades"}, CANARY),
    "canary.settings": ({"max_batch_size": 16}, CANARY),
    "canary.header": ({"lapis-track": "canary"}, laid_over(CANARY, WAY_IN)),
    "rollout.maxSurge": ("25%", {}),
    "rollout.maxUnavailable": (1, {}),
    "rollout.startupSeconds": (90, {}),
    "rollout.endpointDelay": (9, {}),
    "rollout.drainSeconds": (9, {}),
    "rollout.connectionAge": (99, {}),
    "rollout.revisions": (9, {}),
    "podDisruptionBudget.enabled": (False, {}),
    "podDisruptionBudget.maxUnavailable": ("25%", {}),
    "placement.nodeSelector": ({"disk": "fast"}, {}),
    "placement.tolerations": ([{"key": "pictures", "operator": "Exists"}], {}),
    "placement.affinity": (AFFINITY, {}),
    "placement.spreadOver": (["example.com/rack"], {}),
    "placement.priorityClassName": ("high", {}),
    "service.type": ("LoadBalancer", {}),
    "service.port": (443, {}),
    "service.httpPort": (80, {}),
    "service.annotations": ({"a": "b"}, {}),
    "client.balancing": ("weighted_round_robin", {}),
    "client.maxAttempts": (2, {}),
    "tls.enabled": (True, {}, {"tls": {"secretName": "certificate"}}),
    "tls.secretName": ("other", TLS),
    "tls.clientCASecretName": ("authority", TLS),
    "tls.certManager.enabled": (True, {}, MADE_TLS),
    "tls.certManager.issuerRef": ({"name": "theirs"}, MADE_TLS),
    "tls.certManager.dnsNames": (["p.example.com"], MADE_TLS),
    "tokens.secretName": ("callers", {}),
    "networkPolicy.enabled": (False, {}),
    "networkPolicy.callers": ([PEER], {}),
    "networkPolicy.scrapers": ([PEER], {}),
    "networkPolicy.egress": ([{"to": [PEER]}], {}),
    "gateway.enabled": (True, {"gateway": {**GATEWAY, "enabled": False}}),
    "gateway.parentRefs": ([{"name": "other"}], WAY_IN),
    "gateway.hostnames": (["q.example.com"], WAY_IN),
    "gateway.http.enabled": (True, laid_over(WAY_IN, {"gateway": {"http": {**STATUS, "enabled": False}}})),
    "gateway.http.hostnames": (["up.example.com"], laid_over(WAY_IN, {"gateway": {"http": STATUS}})),
    "gateway.http.parentRefs": ([{"name": "inner"}], laid_over(WAY_IN, {"gateway": {"http": STATUS}})),
    "gateway.backendTLS.authority": ("roots", laid_over(TLS, WAY_IN)),
    "gateway.backendTLS.kind": (
        "Secret",
        laid_over(TLS, laid_over(WAY_IN, all_set(gateway__backendTLS__authority="a"))),
    ),
    "ingress.enabled": (True, all_set(ingress__host="p.example.com")),
    "ingress.className": ("nginx", INGRESS),
    "ingress.annotations": ({"a": "b"}, INGRESS),
    "ingress.host": ("q.example.com", INGRESS),
    "ingress.tlsSecretName": ("public", INGRESS),
    "serviceAccount.create": (False, {}),
    "serviceAccount.name": ("models", {}),
    "serviceAccount.annotations": ({"a": "b"}, {}),
    "monitoring.monitor": ("service", {}),
    "monitoring.interval": (30, MONITOR),
    "monitoring.labels": ({"release": "prometheus"}, MONITOR),
    "monitoring.rules.enabled": (True, {}),
    "monitoring.rules.availability": (0.99, RULES),
    "monitoring.rules.latencySeconds": (0.3, RULES),
    "monitoring.rules.runbooks": ("https://example.com/runbooks", RULES),
    "monitoring.rules.disabled": (["LapisSaturated"], RULES),
    "monitoring.dashboard.enabled": (True, {}),
    "monitoring.dashboard.labels": ({"shown": "yes"}, DASHBOARD),
    "monitoring.dashboard.annotations": ({"folder": "Pictures"}, DASHBOARD),
    "kserve.kind": ("inferenceService", {}),
    "test.server": ("p.example.com:443", {}),
    "test.clientSecretName": ("caller", TLS),
    "pod.user": (1000, {}),
    "pod.annotations": ({"a": "b"}, {}),
    "pod.labels": ({"tier": "gold"}, {}),
    "extra.env": ([{"name": "ZONE", "value": "a"}], {}),
    "extra.envFrom": ([{"configMapRef": {"name": "common"}}], {}),
    "extra.volumes": ([{"name": "fonts", "emptyDir": {}}], {}),
    "extra.volumeMounts": ([{"name": "tmp", "mountPath": "/fonts"}], {}),
    "extra.containers": ([{"name": "sidecar", "image": "sidecar:1"}], {}),
    "extra.initContainers": ([{"name": "first", "image": "first:1"}], {}),
    "extra.objects": ([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}}], {}),
}
OF_THE_CANARY = [name for name in CHANGES if name.startswith(("image.", "model."))]


def test_every_value_has_another() -> None:
    assert list(CHANGES) == VALUES


@pytest.mark.parametrize("name", CHANGES)
def test_every_value_matters(render: Callable[..., Objects], name: str) -> None:
    another, where, *with_it = CHANGES[name]

    after = render(laid_over(laid_over(where, *with_it or [{}]), set_to(name, another)))

    assert after.all != render(where).all


@pytest.mark.parametrize("name", OF_THE_CANARY)
def test_every_value_that_may_differ_for_the_canary_matters_to_it(render: Callable[..., Objects], name: str) -> None:
    another, where, *with_it = CHANGES[name]
    own = laid_over({"canary": with_it[0] if with_it else {}}, set_to(f"canary.{name}", another))

    before, after = (render(laid_over(laid_over(where, CANARY), more)) for more in ({}, own))

    assert of_track(after, "canary") != of_track(before, "canary")
    assert of_track(after, "stable") == of_track(before, "stable")


def of_track(objects: Objects, track: str) -> list[Any]:
    """A track's Deployment and settings."""
    ending = "-canary" if track == "canary" else ""
    return [objects.one("Deployment", ending), objects.one("ConfigMap", f"-settings{ending}")]


def test_every_setting_is_passed_on(render: Callable[..., Objects]) -> None:
    schema = SCHEMA["properties"]["settings"]["properties"]
    given = {name: other(part) for name, part in schema.items() if part.keys() & {"type", "anyOf", "enum"}}
    listening = {"host": "::", "http_host": "0.0.0.0"}
    del given["host"], given["http_host"], given["buckets"]

    objects = render({"settings": {**given, **listening}})

    settings = yaml.safe_load(objects.one("ConfigMap", "-settings")["data"]["lapis.yaml"])
    assert len(given) > 30
    assert given.items() <= settings.items()
    assert {name: getattr(ServeSettings(**settings), name) for name in given} == given
    (container,) = objects.one("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"--host=::", "--http-host=0.0.0.0"} <= set(container["args"])


def other(schema: dict[str, Any]) -> Any:  # noqa: ANN401
    """Returns a value that a setting may have and does not have by itself."""
    choices = [schema, *schema.get("anyOf", [])]
    kinds = {part.get("type") for part in choices}
    if "enum" in schema:
        return next(value for value in schema["enum"] if value != schema["default"])
    if "boolean" in kinds:
        return not schema["default"]
    if "integer" in kinds:
        return 3 if isinstance(schema["default"], str) else schema["default"] + 1
    if "number" in kinds:
        return min(part.get("maximum", 4) for part in choices) / 2
    return "http://collector:4317"
