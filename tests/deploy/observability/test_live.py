"""Every query of dashboard, rules and runbooks gives data from real servers under a little of everything.

A stable replica, and a canary of two processes of which one is killed, are scraped by a real Prometheus with the labels
that a cluster's relabeling gives. What no machine without a GPU can bring about, and what other programs of a cluster
tell, comes from a third and a fourth target; FED is all of that, and a test keeps it so.
"""

from __future__ import annotations

import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import grpc
import numpy as np
import psutil
import pytest
import yaml
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc
from prometheus_client import start_http_server

from bench.errors import BenchError
from bench.prometheus import Prometheus, Sample, Target, find
from bench.proof.server import lapis_serve
from service.edge.certificate import CertificateExpiry
from service.telemetry.metrics import Metrics, QueueSample
from service.telemetry.nvml import GpuCollector

pytestmark = pytest.mark.slow

PATIENCE = 90.0
# Told by no replica here: of GPUs, of engines that break, of certificates, and of what the timing of a batch decides.
FED = {
    "lapis_gpu_utilization_ratio",
    "lapis_gpu_memory_used_bytes",
    "lapis_gpu_memory_total_bytes",
    "lapis_gpu_power_watts",
    "lapis_gpu_temperature_celsius",
    "lapis_engine_failures_total",
    "lapis_engine_rebuilds_total",
    "lapis_replanned_batches_total",
    "lapis_tls_certificate_expiry_timestamp_seconds",
}
# Of kube-state-metrics, KEDA and cert-manager, as those write it.
CLUSTER = """\
kube_deployment_spec_replicas{namespace="studio",deployment="pictures-lapis"} 3
kube_deployment_status_replicas{namespace="studio",deployment="pictures-lapis"} 3
kube_deployment_status_replicas_available{namespace="studio",deployment="pictures-lapis"} 2
kube_deployment_status_replicas_updated{namespace="studio",deployment="pictures-lapis"} 3
kube_deployment_status_condition{namespace="studio",deployment="pictures-lapis",reason="NewReplicaSetAvailable",condition="Progressing",status="true"} 1
kube_deployment_status_condition{namespace="studio",deployment="pictures-lapis",reason="NewReplicaSetAvailable",condition="Progressing",status="false"} 0
kube_horizontalpodautoscaler_status_desired_replicas{namespace="studio",horizontalpodautoscaler="pictures-lapis"} 3
kube_horizontalpodautoscaler_spec_max_replicas{namespace="studio",horizontalpodautoscaler="pictures-lapis"} 10
kube_horizontalpodautoscaler_status_condition{namespace="studio",horizontalpodautoscaler="keda-hpa-pictures-lapis",condition="ScalingActive",status="false"} 0
keda_scaled_object_errors_total{namespace="studio",scaledObject="pictures-lapis"} 2
keda_scaler_detail_errors_total{namespace="studio",scaledObject="pictures-lapis",scaler="prometheusScaler",triggerIndex="0",metric="s0-prometheus",type="scaledobject"} 2
kube_horizontalpodautoscaler_status_condition{namespace="studio",horizontalpodautoscaler="pictures-lapis",condition="ScalingActive",status="true"} 1
kube_horizontalpodautoscaler_status_condition{namespace="studio",horizontalpodautoscaler="pictures-lapis",condition="ScalingActive",status="false"} 0
certmanager_certificate_renewal_timestamp_seconds{name="pictures-lapis-tls",namespace="studio",issuer_name="ca"} 1.8e9
certmanager_certificate_expiration_timestamp_seconds{name="pictures-lapis-tls",namespace="studio",issuer_name="ca"} 1.9e9
"""  # noqa: E501


def labels(pod: str, track: str = "stable") -> dict[str, str]:
    return {"namespace": "studio", "job": "pictures-lapis", "pod": pod, "track": track}


@pytest.fixture(scope="module")
def fed(driver: ModuleType, certificate: Path) -> Iterator[str]:
    with replica_with_a_gpu(driver, certificate) as address:
        yield address


@pytest.fixture(scope="module")
def others(fed: str, answering: Callable[..., AbstractContextManager[str]]) -> Iterator[list[Target]]:
    """What is told by none of our replicas here: a replica with a GPU, and other programs of the cluster."""
    with answering(lambda _: CLUSTER) as cluster:
        yield [Target(fed, labels("fed")), Target(cluster)]


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory,
    write_model: Callable[..., Path],
    described: Callable[..., dict[str, Any]],
    others: list[Target],
    every_rule: list[dict[str, Any]],
) -> Iterator[Prometheus]:
    """Scrapes the servers while they are busy with a little of everything."""
    if not find("prometheus"):
        pytest.skip("prometheus is not installed; deploy/tools.py brings it")
    folder = tmp_path_factory.mktemp("live")
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": unique(every_rule)}]}))
    filled_up = described() | {"batching": {"max_batch_size": 4, "buckets": [4]}}
    models = stable_models(folder / "stable", write_model, filled_up)
    with ExitStack() as running:
        stable = running.enter_context(lapis_serve(models, STABLE))
        canary = running.enter_context(lapis_serve(canary_models(folder / "canary", write_model), CANARY))
        targets = [
            Target(stable.http, labels("stable")),
            Target(canary.http, labels("canary", "canary")),
            *others,
        ]
        for work in (partial(ask_stable, stable.address), partial(ask_canary, canary.address)):
            running.enter_context(again_and_again(work))
        watched = running.enter_context(Prometheus(targets, 0.5, [folder / "rules.yaml"]))
        # Counters count from one scrape to the next: what goes wrong once must go wrong after the first.
        watched.until('lapis_workers_ready{pod="canary"} == 2', within=PATIENCE)
        psutil.Process(canary.pid).children()[-1].kill()
        watched.until('lapis_worker_restarts_total{pod="canary"}', within=PATIENCE)
        yield watched


CPU = ("--devices", "cpu", "--instances", "1")
STABLE = (*CPU, "--version-policy", "all", "--cache-bytes", "9999999", "--max-queue", "4")
CANARY = (*CPU, "--workers", "2")


def stable_models(root: Path, write_model: Callable[..., Path], filled_up: dict[str, Any]) -> Path:
    """A model of three versions, one with batches that are filled up and one that is no model; and a slow one."""
    write_model(root / "m/1/model.onnx", metadata=filled_up)
    write_model(root / "m/2/model.onnx", "picky")
    write_model(root / "slow/1/model.onnx", "slow")
    (root / "m/3").mkdir()
    (root / "m/3/model.onnx").write_bytes(b"no model")
    return root


def canary_models(root: Path, write_model: Callable[..., Path]) -> Path:
    write_model(root / "m/2/model.onnx", "picky")
    return root


def unique(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for index, rule in enumerate(rules) if rule not in rules[:index]]


@contextmanager
def replica_with_a_gpu(driver: ModuleType, certificate: Path) -> Iterator[str]:
    """Serves what one with TLS tells whose GPU breaks now and then: the service's own instruments, a driver made up."""
    metrics = Metrics()
    metrics.registry.register(CertificateExpiry(certificate))
    metrics.registry.register(GpuCollector([driver.A], nvml=driver.Driver()))
    model = metrics.model("m", 1)
    model.loaded("CUDAExecutionProvider", lambda: QueueSample(0, 0, 0, 0))
    model.state(ready=True)
    server, thread = start_http_server(0, "127.0.0.1", metrics.registry)

    def break_now_and_then() -> None:
        model.engine_failed()
        model.engine_rebuilt()
        model.planned_anew()

    try:
        with again_and_again(break_now_and_then):
            yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def again_and_again(work: Callable[[], None]) -> Iterator[None]:
    """Does something over and over in a thread, with breaks that leave others some of the machine."""
    stop = threading.Event()

    def keep_at_it() -> None:
        while not stop.wait(0.05):
            work()

    thread = threading.Thread(target=keep_at_it)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def png(level: int) -> bytes:
    return bytes(cv2.imencode(".png", np.full((8, 8, 3), level, np.uint8))[1])


def noise(most: int) -> bytes:
    """Makes a picture that nobody has asked about before."""
    return bytes(cv2.imencode(".png", np.random.default_rng().integers(0, most + 1, (8, 8, 3), np.uint8))[1])


def ask_canary(address: str) -> None:
    with grpc.insecure_channel(address) as channel, suppress(grpc.RpcError):
        pb_grpc.TranslationServiceStub(channel).Translate(
            pb.TranslateRequest(encoded=png(random.choice([1, 255]))), timeout=5
        )


def ask_stable(address: str) -> None:
    """Asks for all sorts of things, right and wrong."""
    with grpc.insecure_channel(address) as channel:
        stub = pb_grpc.TranslationServiceStub(channel)
        wanted = [
            *(pb.TranslateRequest(model="m", version=version, encoded=noise(250)) for version in "12"),
            pb.TranslateRequest(model="m", version="1", encoded=png(7)),  # kept in the cache
            pb.TranslateRequest(model="m", version="2", encoded=png(255)),  # the model fails on it
            pb.TranslateRequest(model="m", encoded=b"no picture"),
            pb.TranslateRequest(model="unheard of", encoded=png(1)),
        ]
        slow = [pb.TranslateRequest(model="slow", encoded=noise(10)) for _ in range(7)]  # more than may wait
        longer = pb.TranslateRequest(model="slow", encoded=noise(60))  # than could be foreseen, and than is waited for
        calls = [stub.Translate.future(longer, timeout=0.2)]
        calls += [stub.Translate.future(request, timeout=10) for request in wanted]
        calls += [stub.Translate.future(request, timeout=10) for request in slow[:6]]
        calls += [stub.Translate.future(slow[6], timeout=0.01)]
        items = [pb.TranslateStreamRequest(request=pb.TranslateRequest(model="m", encoded=png(n))) for n in (1, 2)]
        with suppress(grpc.RpcError):
            list(stub.TranslateStream(iter(items), timeout=10))
        calls[2].exception()
        for call in calls[-3:]:
            call.cancel()  # while it waits for the engine
        for call in calls:
            with suppress(grpc.RpcError, grpc.FutureCancelledError):
                call.result()


def as_grafana_asks(query: str) -> str:
    """Fills in a query's variables as Grafana does, with all models and versions chosen."""
    chosen = {
        "__rate_interval": "10s",
        "__range": "5m",
        "namespace": "studio",
        "job": "pictures-lapis",
        "model": ".*",
        "version": ".*",
    }
    filled = re.sub(r"\$(\w+)", lambda found: chosen[found[1]], query)
    assert "$" not in filled
    return filled


def is_told(samples: list[Sample]) -> bool:
    return any(math.isfinite(sample.value) for sample in samples)


def is_shown(samples: list[Sample]) -> bool:
    return any(math.isfinite(sample.value) and sample.value > 0 for sample in samples)


def silent(prometheus: Prometheus, queries: set[str], wanted: Callable[[list[Sample]], bool] = is_told) -> str:
    """Returns the queries that give nothing that is wanted, at least a number, however long one waits."""
    end = time.monotonic() + PATIENCE
    found = []
    for query in sorted(queries):
        try:
            prometheus.until(query, wanted, within=max(0.0, end - time.monotonic()))
        except BenchError:
            found.append(query)
    return "\n".join(found)


def test_every_query_of_the_dashboard_shows_something(prometheus: Prometheus, dashboard: dict[str, Any]) -> None:
    """No zeros: each thing that the dashboard can show happens here."""
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries = {as_grafana_asks(target["expr"]) for target in targets}
    maybe_zero = {
        query for query in queries if "lapis_cost_base_seconds" in query
    }  # what is run one by one has no base
    assert silent(prometheus, queries - maybe_zero, is_shown) == ""
    assert silent(prometheus, maybe_zero) == ""


def test_every_recording_gives_data(prometheus: Prometheus, every_rule: list[dict[str, Any]]) -> None:
    recorded = {
        f'{rule["record"]}{{namespace="studio",job="pictures-lapis"}}' for rule in every_rule if "record" in rule
    }
    worked_out = {rule["expr"] for rule in every_rule if "record" in rule}
    assert silent(prometheus, recorded | worked_out) == ""


def test_every_alert_is_evaluated_and_sees_its_series(prometheus: Prometheus, every_rule: list[dict[str, Any]]) -> None:
    series = {
        f"{name}{{{braces}}}"
        for rule in every_rule
        if "alert" in rule
        for name, braces in re.findall(r"\b([a-zA-Z_:][\w:]*)\{([^}]*)\}", rule["expr"])
        # One of the two forms in which a cluster may tell of it; the other is there.
        if "exported_namespace" not in braces
    }
    assert silent(prometheus, series) == ""
    rules = prometheus.rules()
    assert {rule["name"] for rule in rules} >= {rule["alert"] for rule in every_rule if "alert" in rule}
    assert [rule for rule in rules if rule["health"] != "ok" or rule.get("lastError")] == []


def test_every_query_of_the_runbooks_gives_data(prometheus: Prometheus, runbook_queries: dict[str, list[str]]) -> None:
    assert silent(prometheus, {query for queries in runbook_queries.values() for query in queries}) == ""


def test_what_is_made_up_is_what_cannot_be_had(prometheus: Prometheus, told: dict[str, set[str]]) -> None:
    real = {series["__name__"] for series in prometheus.series('{pod=~"stable|canary"}')}
    mirrored = {name for name in told if name.startswith("nv_")}
    parts = {name for name in told if re.sub(r"_(bucket|count|sum|total)$", "", name) != name}
    bare = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in parts}
    missing = {name for name in told if name.startswith("lapis_")} - bare - mirrored - real
    assert FED - {"lapis_replanned_batches_total"} <= missing <= FED


def test_alerts_that_ought_to_be_pending_are(prometheus: Prometheus) -> None:
    """Asked for a GPU (by the rules' values) and run on the CPU; a file that is no model."""
    prometheus.until('ALERTS{alertname="LapisWrongProvider"}', within=PATIENCE)
    prometheus.until('ALERTS{alertname="LapisModelLoadFailed",version="3"}', within=PATIENCE)
