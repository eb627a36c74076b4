"""What Prometheus is told, by name: each family of series with its labels, in one place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

MODEL = ("model", "version")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (0, 1, 2, 4, 8, 16, 32, 64)

Over = Literal["livesum", "livemin", "livemax"]
"""How the gauges of several workers become one; those of a dead worker do not count."""

# What changes no result, for a series that is gone: a worker cannot take it out of its files.
NEUTRAL: dict[Over, float] = {"livesum": 0.0, "livemin": math.inf, "livemax": -math.inf}


class Instruments:
    """The families of one server, registered; `histories` are those that count up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.histories: list[Histogram | Counter] = []
        self.neutral: dict[Gauge, float] = {}
        self._define_histograms()
        self._define_counters()
        self._define_gauges()
        self._define_cost_model()

    def _define_histograms(self) -> None:
        self.request_seconds = self._histogram(
            "lapis_request_seconds",
            "Time from a request's arrival to its answer; model and version are empty where none was found.",
            ("method", *MODEL, "code"),
        )
        self.stage_seconds = self._histogram(
            "lapis_stage_seconds",
            "Time of an answered request's stages: decode, queue, infer, encode.",
            (*MODEL, "stage"),
        )
        self.batch_size = self._histogram("lapis_batch_size", "Rows of requests in a run of the engine.", MODEL, _ROWS)
        self.padding = self._histogram(
            "lapis_batch_padding_rows",
            "Rows of filling in a run of the engine, up to the size of its bucket.",
            MODEL,
            _ROWS,
        )

    def _define_counters(self) -> None:
        self.answers = self._counter(
            "lapis_answers", "Requests that an engine answered; those answered from the cache are not among them."
        )
        self.refused = self._counter("lapis_refused_requests", "Requests that ended in an error.", "reason")
        self.dropped = self._counter(
            "lapis_dropped_requests",
            "Requests that left the queue before the engine: cancelled, expired, or displaced by others.",
            "reason",
        )
        self.replanned = self._counter("lapis_replanned_batches", "Batches that were changed after they were planned.")
        self.cache_lookups = self._counter(
            "lapis_cache_lookups", "Looks into the cache of answers: hit or miss.", "result"
        )
        self.busy_seconds = self._counter("lapis_engine_busy_seconds", "Time spent in runs, summed over lanes.")
        self.work_seconds = self._counter(
            "lapis_engine_work_seconds",
            "Time that the pictures of runs would have taken in the batches that are best: what lanes were busy for, "
            "less what fuller batches would have saved.",
        )
        self.unmet_seconds = self._counter(
            "lapis_unmet_work_seconds",
            "Time, likewise, of requests that there was no room for; each once, and none that no replica could have "
            "answered by its deadline.",
        )
        self.engine_failures = self._counter("lapis_engine_failures", "Times that an engine was found broken.")
        self.engine_rebuilds = self._counter("lapis_engine_rebuilds", "Times that a broken engine was built anew.")
        self.load_failures = self._counter(
            "lapis_model_load_failures", "Times that a model's file was found unfit to be served."
        )

    def _define_gauges(self) -> None:
        self.in_flight = self._gauge("lapis_in_flight_requests", "Requests being served.", "livesum", ())
        self.tasks = self._gauge("lapis_event_loop_tasks", "Tasks of the server's event loop.", "livesum", ())
        self.lanes = self._gauge(
            "lapis_engine_lanes", "Runs that can go on at a time, of all models together.", "livesum", ()
        )
        self.busy = self._gauge("lapis_engine_busy_ratio", "Share of the lanes busy in the last 10 s.", "livesum", ())
        self.queued = self._gauge("lapis_queue_requests", "Rows that wait for the engine.", "livesum")
        self.queued_bytes = self._gauge("lapis_queue_bytes", "Bytes of the rows that wait for the engine.", "livesum")
        self.admitted = self._gauge("lapis_admitted_requests", "Requests admitted and not answered yet.", "livesum")
        self.admitted_bytes = self._gauge(
            "lapis_admitted_bytes", "Bytes of the requests admitted and not answered yet.", "livesum"
        )
        self.ready = self._gauge("lapis_model_ready", "1 when the model can be used, else 0.", "livemin")
        self.info = self._gauge(
            "lapis_model_info",
            "1 for every loaded model, with the ONNX Runtime provider that runs it.",
            "livemax",
            (*MODEL, "provider"),
        )

    def _define_cost_model(self) -> None:
        self.cost_base = self._gauge(
            "lapis_cost_base_seconds", "Predicted time of a run of no rows: what a run costs in itself.", "livemax"
        )
        self.cost_row = self._gauge("lapis_cost_row_seconds", "Predicted time that each row adds to a run.", "livemax")
        self.cost_bucket = self._gauge(
            "lapis_cost_bucket_seconds", "Time of a run of a bucket, as last known.", "livemax", (*MODEL, "bucket")
        )

    def _histogram(
        self, name: str, documentation: str, labels: Iterable[str], buckets: Iterable[float] = _SECONDS
    ) -> Histogram:
        family = Histogram(name, documentation, labels, buckets=tuple(buckets), registry=self._registry)
        self.histories.append(family)
        return family

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        family = Counter(name, documentation, (*MODEL, *labels), registry=self._registry)
        self.histories.append(family)
        return family

    def _gauge(self, name: str, documentation: str, over: Over, labels: Iterable[str] = MODEL) -> Gauge:
        family = Gauge(name, documentation, labels, multiprocess_mode=over, registry=self._registry)
        self.neutral[family] = NEUTRAL[over]
        return family


class SupervisorInstruments:
    """The families of a supervisor of workers, registered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.workers = Gauge("lapis_workers", "Server processes that there are to be.", registry=registry)
        self.ready = Gauge("lapis_workers_ready", "Server processes that are ready.", registry=registry)
        self.restarts = Counter(
            "lapis_worker_restarts", "Times that a process took a dead one's place.", ("worker",), registry=registry
        )
