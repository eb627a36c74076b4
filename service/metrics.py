"""Prometheus metrics of one server; labels take their values from the repository and from enums, never from callers."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector

from service.busy import BusyMeter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.registry import LoadedModel, ModelVersion
    from service.translator import Timings

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_MODEL = ("model", "version")


class Metrics:
    """The instruments of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.request_seconds = Histogram(
            "lapis_request_seconds",
            "Time from a request's arrival to its answer; model and version are empty where none was found.",
            ("method", *_MODEL, "code"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "lapis_stage_seconds",
            "Time of an answered request's stages: decode, queue, infer, encode.",
            (*_MODEL, "stage"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "lapis_batch_size", "Pictures in a run of the engine.", _MODEL, buckets=_BATCH_SIZES, registry=self.registry
        )
        self.refused = Counter(
            "lapis_refused_requests", "Requests that ended in an error.", (*_MODEL, "reason"), registry=self.registry
        )
        self.in_flight = Gauge("lapis_in_flight_requests", "Requests being served.", registry=self.registry)
        self.queued = self._gauge("lapis_queue_requests", "Requests decoded and waiting for the engine.")
        self.held = self._gauge("lapis_admitted_requests", "Requests admitted and not answered yet.")
        self.held_bytes = self._gauge("lapis_admitted_bytes", "Bytes of the requests admitted and not answered yet.")
        self.slots = self._gauge("lapis_engine_slots", "Runs that the engine does at once.")
        self.busy_ratio = self._gauge("lapis_engine_busy_ratio", "Share of the engine's slots busy in the last 10 s.")
        self.busy_seconds = Counter(
            "lapis_engine_busy_seconds", "Time spent in runs, summed over slots.", _MODEL, registry=self.registry
        )
        self.model_ready = self._gauge("lapis_model_ready", "1 when the model can be used, else 0.")
        self.model_info = Gauge(
            "lapis_model_info",
            "1 for every loaded model, with the ONNX Runtime provider that runs it.",
            (*_MODEL, "provider"),
            registry=self.registry,
        )

    def watch(self, model: ModelVersion) -> None:
        """Report whether a model is ready."""
        self.model_ready.labels(model.name, str(model.version)).set_function(lambda: float(model.is_ready))

    def engine(self, name: str, version: int, slots: int) -> EngineMetrics:
        """Return the metrics of a loaded model's engine."""
        return EngineMetrics(self, (name, str(version)), slots)

    def loaded(self, name: str, version: int, model: LoadedModel) -> None:
        """Report a loaded model's provider and its queue."""
        labels = (name, str(version))
        self.model_info.labels(*labels, model.engine.provider).set(1)
        self.queued.labels(*labels).set_function(lambda: model.batcher.depth)
        self.held.labels(*labels).set_function(lambda: model.admission.requests)
        self.held_bytes.labels(*labels).set_function(lambda: model.admission.bytes)

    def stages(self, name: str, version: int, timings: Timings) -> None:
        """Count in how long each stage of an answered request took."""
        for stage in ("decode", "queue", "infer", "encode"):
            self.stage_seconds.labels(name, str(version), stage).observe(getattr(timings, stage))

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, _MODEL, registry=self.registry)


class EngineMetrics:
    """What is seen of an engine's runs."""

    def __init__(self, metrics: Metrics, labels: tuple[str, str], slots: int) -> None:
        self._meter = BusyMeter(slots)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._busy_seconds = metrics.busy_seconds.labels(*labels)
        metrics.busy_ratio.labels(*labels).set_function(self._meter.ratio)
        metrics.slots.labels(*labels).set(slots)

    @contextmanager
    def run(self, batch_size: int) -> Iterator[None]:
        """Count in one run of the engine."""
        self._batch_size.observe(batch_size)
        started = time.monotonic()
        try:
            with self._meter.running():
                yield
        finally:
            self._busy_seconds.inc(time.monotonic() - started)
