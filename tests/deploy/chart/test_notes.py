"""What Helm prints at the end of an install: commands that work on what was installed."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lapis.settings import Settings

CHART = Path(__file__).parents[3] / "deploy/helm/lapis"
TLS = {"enabled": True, "secretName": "certificate", "clientCASecretName": "callers"}
ISSUED = {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "front", "namespace": "gates"}], "hostnames": ["a.example.com"]}


@pytest.fixture(scope="module")
def notes(run_helm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """Returns the notes of a release `pictures` in the namespace `studio`."""

    def told(values: dict[str, Any]) -> str:
        ran = run_helm("install", "pictures", str(CHART), "-n", "studio", "--dry-run=client", values=values)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.partition("\nNOTES:\n")[2]

    return told


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"service": {"port": 443}, "fullnameOverride": "drawings"},
        {"tls": TLS, "tokens": {"secretName": "callers"}},
        {"tls": ISSUED, "networkPolicy": {"enabled": False}},
        {"canary": {"enabled": True, "header": {"lapis-track": "canary"}}, "gateway": GATEWAY},
        {"ingress": {"enabled": True, "host": "a.example.com"}, "tokens": {"secretName": "callers"}},
    ],
    ids=str,
)
def test_commands_name_what_is_there(
    values: dict[str, Any], notes: Callable[..., str], render: Callable[..., Any]
) -> None:
    told = notes(values)
    objects = render(values)
    there = {(one["kind"].lower(), one["metadata"]["name"]): one for one in objects.all}

    (name,) = re.findall(r"rollout status deployment/(\S+)", told)
    assert ("deployment", name) in there
    ((service, port),) = re.findall(r"port-forward service/(\S+) 50051:(\d+)", told)
    assert int(port) in {one["port"] for one in there["service", service]["spec"]["ports"]}
    ((headless, listening),) = re.findall(r'Client\("([^.]+)\.studio\.svc:(\d+)"', told)
    assert int(listening) == there["service", headless]["spec"]["ports"][0]["port"]
    (config,) = re.findall(r"ConfigMap (\S+)\.", told)
    assert f":{listening}" in there["configmap", config]["data"]["target"]


@pytest.mark.parametrize("values", [{}, {"tls": TLS, "tokens": {"secretName": "a"}}, {"gateway": GATEWAY}], ids=str)
def test_every_flag_is_one_that_the_command_has(values: dict[str, Any], notes: Callable[..., str]) -> None:
    commands = re.findall(r"^  lapis-translate .+$", notes(values), re.MULTILINE)
    assert commands
    for flag in re.findall(r" --([a-z-]+)", " ".join(commands)):
        assert flag.replace("-", "_") in Settings.model_fields


def test_certificate_and_token_are_asked_for_where_the_server_asks(notes: Callable[..., str]) -> None:
    (command,) = re.findall("lapis-translate.+", notes({"tls": TLS, "tokens": {"secretName": "callers"}}))
    assert '--ca ca.crt --certificate tls.crt --key tls.key --token "$TOKEN"' in command
    (plain,) = re.findall("lapis-translate.+", notes({}))
    assert not {"--ca", "--certificate", "--token"} & set(plain.split())


def test_authority_is_read_from_the_secret_that_the_server_s_certificate_is_in(
    notes: Callable[..., str], render: Callable[..., Any]
) -> None:
    (secret,) = re.findall(r"get secret (\S+) ", notes({"tls": ISSUED}))
    assert secret == render({"tls": ISSUED}).one("Certificate", "-tls")["spec"]["secretName"]
    assert "get secret certificate " in notes({"tls": TLS})


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"tokens": {"secretName": "callers"}}, "tokens go in clear"),
        ({"service": {"type": "LoadBalancer"}}, "whoever reaches the LoadBalancer may call"),
        ({"tls": TLS}, "the certificate in certificate must"),
        ({"tls": ISSUED}, "tls.certManager.dnsNames"),
        ({"autoscaling": {"kind": "hpa"}, "monitoring": {"rules": {"enabled": True}}}, "prometheus-adapter"),
        ({"autoscaling": {"kind": "keda", "keda": {"prometheus": "http://p:9090"}}}, "monitoring.monitor none"),
        ({"canary": {"enabled": True}}, "no call goes to the canary"),
        ({"tls": TLS, "gateway": GATEWAY}, "gateway.backendTLS.authority"),
        ({"tls": TLS, "gateway": GATEWAY}, "from outside is the Gateway, which must be given one"),
        ({"model": {"source": "download", "download": {"url": "s3://a/b"}}}, "model.download.sha256 is empty"),
    ],
    ids=str,
)
def test_what_somebody_should_know_is_said_where_it_is_so(
    values: dict[str, Any], part: str, notes: Callable[..., str]
) -> None:
    told = notes(values)
    assert part in told
    assert "map[" not in told  # a sentence in which YAML saw a key
    assert "NOTE" not in notes({})


# Only what is rendered may be rendered for another Kubernetes than the newest.
CAUTIONS = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "cautions"},
    "binaryData": {"cautions": '{{ include "lapis.notes.cautions" . | b64enc }}'},
}


@pytest.mark.parametrize("track", ["stable", "canary"])
def test_a_kubernetes_that_does_not_mount_images_by_itself_is_told_of(track: str, render: Callable[..., Any]) -> None:
    model = {"model": {"source": "image", "image": {"reference": "r.example/facades:3"}}}
    values = model if track == "stable" else {"canary": {"enabled": True, **model}}
    told = {}
    for kube in ("1.34", "1.35"):
        objects = render({**values, "extra": {"objects": [CAUTIONS]}}, kube=kube)
        (cautions,) = [one["binaryData"]["cautions"] for one in objects.of("ConfigMap") if "binaryData" in one]
        told[kube] = "feature gate ImageVolume" in base64.b64decode(cautions).decode()
    assert told == {"1.34": True, "1.35": False}


def test_strangers_who_are_asked_for_a_token_are_no_worry(notes: Callable[..., str]) -> None:
    assert "whoever reaches" not in notes({"service": {"type": "NodePort"}, "tokens": {"secretName": "callers"}})


@pytest.mark.parametrize(
    ("values", "who"),
    [
        ({}, "pods of studio alone"),
        ({"gateway": GATEWAY}, "pods of every namespace"),
        ({"service": {"type": "LoadBalancer"}}, "anyone, as a Service of type LoadBalancer"),
        ({"gateway": GATEWAY, "networkPolicy": {"callers": [{"podSelector": {}}]}}, "whom networkPolicy.callers names"),
    ],
    ids=str,
)
def test_whom_the_policy_lets_in_is_told(values: dict[str, Any], who: str, notes: Callable[..., str]) -> None:
    assert notes(values).count("The NetworkPolicy lets in ") == 1
    assert f"The NetworkPolicy lets in {who}" in notes(values)


@pytest.mark.parametrize("kind", ["servingRuntime", "inferenceService"])
def test_kserve_s_objects_are_called_by_their_names(
    kind: str, notes: Callable[..., str], render: Callable[..., Any]
) -> None:
    values = {"kserve": {"kind": kind}}
    name = render(values).of(kind[0].upper() + kind[1:])[0]["metadata"]["name"]
    told = notes(values)
    assert name in told
    assert "deployment/pictures-lapis " not in told
