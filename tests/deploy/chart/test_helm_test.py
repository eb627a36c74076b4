"""`helm test`: a pod that translates through the Service; here its very command translates through a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Objects: TypeAlias = Any
Manifest: TypeAlias = Any

ROOT = Path(__file__).parents[3]
TLS = {"enabled": True, "secretName": "certificate"}


def pod_of(objects: Objects) -> Manifest:
    return objects.one("Pod", "-test")


@pytest.fixture
def bundled() -> Iterator[int]:
    """Serves the bundled model; gives the port."""
    command = [sys.executable, "-m", "service", f"--models={ROOT / 'models'}", "--port=0", "--http-port=0"]
    with subprocess.Popen([*command, "--log-format=json"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        yield next(event["grpc_port"] for event in map(json.loads, server.stderr) if event["event"] == "serving")
        server.terminate()
        server.stderr.read()


def arguments(objects: Objects) -> list[str]:
    return list(pod_of(objects)["spec"]["containers"][0]["args"])


def test_it_runs_once_when_asked(render: Callable[..., Any]) -> None:
    pod = pod_of(render())

    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["activeDeadlineSeconds"]


def test_it_calls_the_service_from_the_services_own_image(render: Callable[..., Any]) -> None:
    objects = render({"service": {"port": 443}, "image": {"tag": "7"}})

    (container,) = pod_of(objects)["spec"]["containers"]
    name = objects.one("Deployment")["metadata"]["name"]
    assert container["image"] == "lapis:7"
    assert container["args"] == [f"--server={name}.studio.svc:443"]


def test_no_selector_takes_it_for_a_replica(render: Callable[..., Any]) -> None:
    objects = render({"canary": {"enabled": True}})
    labels = pod_of(objects)["metadata"]["labels"].items()

    for kind in ("Deployment", "PodDisruptionBudget"):
        for one in objects.of(kind):
            assert not one["spec"]["selector"]["matchLabels"].items() <= labels
    for service in objects.of("Service"):
        assert not service["spec"]["selector"].items() <= labels


def test_with_tls_it_trusts_the_certificate_and_never_sees_the_key(render: Callable[..., Any]) -> None:
    objects = render({"tls": TLS})

    assert "--authorities=/etc/lapis-tls/ca.crt,/etc/lapis-tls/tls.crt" in arguments(objects)
    volume = next(one for one in pod_of(objects)["spec"]["volumes"] if one["name"] == "tls")
    keys = [item["key"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
    assert keys == ["tls.crt", "ca.crt"]


def test_where_callers_show_certificates_it_needs_one(render: Callable[..., Any]) -> None:
    tls = {**TLS, "clientCASecretName": "callers"}

    assert "Pod" not in render({"tls": tls}).kinds

    objects = render({"tls": tls, "test": {"clientSecretName": "mine"}})
    assert "--client-certificate=/etc/lapis-client-tls/tls.crt" in arguments(objects)
    assert {"name": "client-tls", "secret": {"secretName": "mine"}} in pod_of(objects)["spec"]["volumes"]


def test_it_has_a_token_where_there_are_tokens(render: Callable[..., Any]) -> None:
    assert "--tokens=/etc/lapis-tokens/tokens" in arguments(render({"tokens": {"secretName": "callers"}}))


def test_it_may_call_elsewhere(render: Callable[..., Any]) -> None:
    assert arguments(render({"test": {"server": "pictures.example:443"}})) == ["--server=pictures.example:443"]


def test_the_network_lets_it_in_where_callers_are_named(render: Callable[..., Any]) -> None:
    callers = [{"namespaceSelector": {"matchLabels": {"team": "web"}}}]

    objects = render({"networkPolicy": {"callers": callers}})

    allowed = objects.one("NetworkPolicy")["spec"]["ingress"][0]["from"]
    labels = pod_of(objects)["metadata"]["labels"].items()
    assert any(one.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= labels for one in allowed)


def test_it_takes_no_gpu(render: Callable[..., Any]) -> None:
    (container,) = pod_of(render({"accelerator": {"kind": "gpu"}}))["spec"]["containers"]

    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]


@pytest.mark.parametrize("is_there", [True, False])
def test_its_command_tells_a_service_that_translates_from_one_that_does_not(
    render: Callable[..., Any], bundled: int, is_there: bool, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# callers\nhelm secret\n")
    objects = render({"tokens": {"secretName": "callers"}})
    (container,) = pod_of(objects)["spec"]["containers"]
    here = {
        "python3": sys.executable,
        "--server=pictures-lapis.studio.svc:50051": f"--server=127.0.0.1:{bundled if is_there else 1}",
        "--tokens=/etc/lapis-tokens/tokens": f"--tokens={tokens}",
    }
    command = [here.get(word, word) for word in container["command"] + container["args"]]

    ran = subprocess.run([*command, "--patience=0"], capture_output=True, text=True, check=False)

    assert ran.returncode == (0 if is_there else 2), ran.stderr
    assert ran.stdout.startswith("edges2emoji 1: ") is is_there
    assert "Traceback" not in ran.stderr
