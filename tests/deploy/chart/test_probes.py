"""Probes and the end of a pod; and that the rendered configuration starts a real server which answers the probes."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Objects: TypeAlias = Any
Manifest: TypeAlias = Any

ROOT = Path(__file__).parents[3]
PROBES = {"startupProbe": "startup", "readinessProbe": "readiness", "livenessProbe": "liveness"}
TLS = {"tls": {"enabled": True, "secretName": "certificate"}}


def pod(objects: Objects) -> Manifest:
    return objects.one("Deployment")["spec"]["template"]["spec"]


def container(objects: Objects) -> Manifest:
    return pod(objects)["containers"][0]


@pytest.fixture
def served(render: Callable[..., Any], tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Starts the very container's arguments and settings file, with this machine's paths; gives what it logged."""
    objects = render({"settings": {"max_batch_size": 4}})
    settings = tmp_path / "lapis.yaml"
    settings.write_text(objects.one("ConfigMap", "-settings")["data"]["lapis.yaml"])
    here = {"/etc/lapis/lapis.yaml": str(settings), "--models=/models": f"--models={ROOT / 'models'}"}
    arguments = container(objects)["args"]
    for there, path in here.items():
        arguments = [argument.replace(there, path) for argument in arguments]
    command = [sys.executable, "-m", "service", *arguments, "--port=0", "--http-port=0", "--log-format=json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        serving = next(event for event in map(json.loads, server.stderr) if event["event"] == "serving")
        yield serving
        server.terminate()
        server.stderr.read()


def test_each_probe_asks_for_a_service_of_its_own(render: Callable[..., Any]) -> None:
    rendered = container(render())

    assert {name: rendered[name]["grpc"]["service"] for name in PROBES} == PROBES
    assert all(rendered[name]["grpc"]["port"] == 50051 for name in PROBES)


def test_with_tls_the_kubelet_asks_over_http(render: Callable[..., Any]) -> None:
    rendered = container(render(TLS))

    assert [rendered[name]["httpGet"] for name in PROBES] == [
        {"path": path, "port": "http"} for path in ("/startupz", "/readyz", "/livez")
    ]
    assert not any("grpc" in rendered[name] for name in PROBES)


@pytest.mark.parametrize("seconds", [1, 90, 601])
def test_a_start_may_take_as_long_as_said(render: Callable[..., Any], seconds: int) -> None:
    probe = container(render({"rollout": {"startupSeconds": seconds}}))["startupProbe"]

    assert seconds <= probe["failureThreshold"] * probe["periodSeconds"] < seconds + 5


def test_a_busy_server_is_not_restarted_before_callers_leave_it(render: Callable[..., Any]) -> None:
    rendered = container(render())

    def patience(name: str) -> int:
        return int(rendered[name]["periodSeconds"] * rendered[name]["failureThreshold"])

    assert patience("readinessProbe") < patience("livenessProbe")


def test_a_replica_lives_long_enough_to_leave(render: Callable[..., Any]) -> None:
    spec = pod(render({"rollout": {"endpointDelay": 8, "drainSeconds": 40}}))

    assert spec["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": 8}}
    assert spec["terminationGracePeriodSeconds"] > 8 + 40


def test_before_kubernetes_1_30_the_image_sleeps_without_a_shell(render: Callable[..., Any]) -> None:
    command = container(render(kube="1.29"))["lifecycle"]["preStop"]["exec"]["command"]

    assert command[0] == "python3"
    compile(command[2], "preStop", "exec")
    assert "sleep(5)" in command[2]


def test_without_a_delay_there_is_no_sleep(render: Callable[..., Any]) -> None:
    assert "lifecycle" not in container(render({"rollout": {"endpointDelay": 0}}))


def test_the_rendered_server_answers_the_rendered_probes(render: Callable[..., Any], served: dict[str, Any]) -> None:
    plain, encrypted = container(render()), container(render(TLS))

    with grpc.insecure_channel(f"127.0.0.1:{served['grpc_port']}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in PROBES:
            request = health_pb2.HealthCheckRequest(service=plain[name]["grpc"]["service"])
            assert health.Check(request, timeout=10).status == health_pb2.HealthCheckResponse.SERVING
    for name in PROBES:
        url = f"http://127.0.0.1:{served['http_port']}{encrypted[name]['httpGet']['path']}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
