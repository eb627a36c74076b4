"""The service config that the chart gives to callers: the Python client's own, and one that gRPC acts on."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from lapis.client.channel import Connection
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

from bench.proof.server import ServerProcess, lapis_serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODELS = Path(__file__).parents[3] / "models"


def config(objects: Any) -> str:  # noqa: ANN401
    return str(objects.one("ConfigMap", "-client")["data"]["service-config.json"])


@pytest.mark.parametrize("balancing", ["round_robin", "weighted_round_robin"])
def test_config_is_that_of_the_python_client(render: Callable[..., Any], balancing: str) -> None:
    ours = json.loads(config(render({"client": {"balancing": balancing}})))
    options = dict(Connection("x:1", balancing=balancing)._options(checked=True))
    assert ours == json.loads(options["grpc.service_config"])


def test_target_has_every_replica_s_address(render: Callable[..., Any]) -> None:
    objects = render({"service": {"port": 443}})
    name = objects.one("Service", "-headless")["metadata"]["name"]
    (listening,) = (
        port["containerPort"]
        for port in objects.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["ports"]
        if port["name"] == "grpc"
    )
    target = objects.one("ConfigMap", "-client")["data"]["target"]
    assert target == f"dns:///{name}.studio.svc:{listening}"


@pytest.fixture
def servers() -> Iterator[list[ServerProcess]]:
    flags = ["--cpu-mode", "throughput", "--grace-period", "5"]
    running = [lapis_serve(MODELS, flags).start() for _ in range(2)]
    yield running
    for server in running:
        server.stop()


def answered(server: ServerProcess) -> int:
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("lapis_request_seconds_count")]
    return round(sum(float(line.rpartition(" ")[2]) for line in counts if 'method="ListModels"' in line))


def test_callers_spread_calls_and_leave_a_server_that_goes(
    render: Callable[..., Any], servers: list[ServerProcess]
) -> None:
    both = ",".join(server.address for server in servers)
    with grpc.insecure_channel(
        f"ipv4:{both}", options=[("grpc.service_config", config(render())), ("grpc.default_authority", "x")]
    ) as channel:
        stub = pb_grpc.TranslationServiceStub(channel)
        end = time.monotonic() + 30
        while not all(map(answered, servers)):  # until both are connected
            stub.ListModels(pb.ListModelsRequest(), timeout=10)
            assert time.monotonic() < end
        before = list(map(answered, servers))
        for _ in range(20):
            stub.ListModels(pb.ListModelsRequest(), timeout=10)
        assert [after - first for after, first in zip(map(answered, servers), before, strict=True)] == [10, 10]
        assert servers[0].stop() == 0
        for _ in range(20):
            stub.ListModels(pb.ListModelsRequest(), timeout=10)
        assert answered(servers[1]) == before[1] + 30
