"""Prometheus metrics of one server; labels take their values from the repository and from enums, never from callers.

In a server of one process, gauges are sampled when they are scraped. In a worker, whose figures another process reads
from files (aggregate.py), nobody asks, so `keep_fresh` takes a sample each second.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from service.errors import DeadlineUnreachable, QueueFull
from service.telemetry.busy import BusyMeter
from service.telemetry.instruments import MODEL, Instruments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Gauge
    from prometheus_client.metrics_core import Metric

    from service.translator import Timings

    Labels = tuple[str, str]

STAGES = ("decode", "queue", "infer", "encode")

Why = Literal["cancelled", "expired", "displaced"]
"""Why a request left the queue: its caller did, its deadline passed, or one of more worth took its place."""

# Seconds for which the counters of a version that is gone are shown on, so that a scrape sees their last values.
LINGER = 300.0

_NO_MODEL = ("", "")

# Calls that translate, and how they end by a fault of the server's; why requests are refused for want of room.
_TRANSLATES, _FAULTS = ("Translate", "TranslateStream"), ("INTERNAL", "UNAVAILABLE")
_NO_ROOM = (QueueFull.reason, DeadlineUnreachable.reason)


@dataclass(frozen=True)
class QueueSample:
    """What waits for a model's engine (rows), and what was admitted and is not answered yet (requests)."""

    requests: int
    bytes: int
    admitted: int
    admitted_bytes: int


class Metrics:
    """The metrics of one server, in a registry of their own; may be told of anything, and read, in any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry: CollectorRegistry = _SampledRegistry(self.refresh)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.instruments = Instruments(self.registry)
        self.in_flight = self.instruments.in_flight
        self._clock = clock
        self._lanes = 1
        self._meter = BusyMeter(1, clock=clock)
        self._models: dict[Labels, ModelMetrics] = {}
        self._gone: dict[Labels, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell how many tasks an event loop has; a number that grows without more requests is a leak."""
        self._loop = loop

    def model(self, name: str, version: int) -> ModelMetrics:
        """Return the metrics of one version of a model, the same object until it is forgotten."""
        labels = (name, str(version))
        if labels not in self._models:
            self._gone.pop(labels, None)
            self._models[labels] = ModelMetrics(self, labels)
        return self._models[labels]

    def call(self, method: str, model: str, version: str | int, code: str, seconds: float) -> None:
        """Count in a call that has ended, with the name of its status code."""
        self.instruments.request_seconds.labels(method, *self._known(model, version), code).observe(seconds)

    def refused(self, model: str, version: str | int, reason: str) -> None:
        """Count in a request that ended in an error; `reason` is a `ServiceError.reason`."""
        self.instruments.refused.labels(*self._known(model, version), reason).inc()

    def lanes(self, count: int) -> None:
        """Tell how many runs can go on at a time, before the first of them."""
        self._lanes = count
        self._meter = BusyMeter(count, clock=self._clock)
        self.instruments.lanes.set(count)

    def busy_ratio(self) -> float:
        """Return the share of the lanes that were busy in the last 10 s, from 0 to 1."""
        return self._meter.ratio()

    @contextmanager
    def lane_busy(self) -> Iterator[None]:
        """Count one lane as busy."""
        with self._meter.running():
            yield

    def refresh(self) -> None:
        """Sample what is not told when it changes."""
        # Workers tell their busy lanes, because shares cannot be added up; whoever adds them divides by all lanes.
        self.instruments.busy.set(self.busy_ratio() * (self._lanes if in_worker() else 1))
        if self._loop:
            self.instruments.tasks.set(len(asyncio.all_tasks(self._loop)))
        for model in list(self._models.values()):
            model.refresh()
        self._drop_histories()

    async def keep_fresh(self) -> None:
        """Refresh each second until cancelled."""
        while True:
            self.refresh()
            await asyncio.sleep(1)

    def release(self, labels: Labels) -> None:
        """Know a version no more; its counters and histograms linger for a while."""
        del self._models[labels]
        self._gone[labels] = self._clock()

    def _known(self, model: str, version: str | int) -> Labels:
        """Return the labels of a version that the repository has, or lately had, and empty ones for any other."""
        labels = (model, str(version))
        return labels if labels in self._models or labels in self._gone else _NO_MODEL

    def _drop_histories(self) -> None:
        now = self._clock()
        for labels, since in list(self._gone.items()):
            if now - since < LINGER:
                continue
            self._gone.pop(labels, None)
            # A worker's files keep every series; aggregate.py leaves out those of versions that are gone.
            if not in_worker():
                for family in self.instruments.histories:
                    family.remove_by_labels(dict(zip(MODEL, labels, strict=True)))


class ModelMetrics:
    """What is seen of one version of a model."""

    def __init__(self, metrics: Metrics, labels: Labels) -> None:
        self._metrics = metrics
        self._instruments = metrics.instruments
        self._labels = labels
        self._sample: Callable[[], QueueSample] | None = None
        # Each gauge told of: its family, and the values of the labels that follow the model's.
        self._told: set[tuple[Gauge, tuple[str, ...]]] = set()
        self._is_gone = False
        self._lock = threading.Lock()
        # Those of every request and run, found once: looking a series up costs as much as counting.
        found = self._instruments
        self._answers = found.answers.labels(*labels)
        self._stages = [(stage, found.stage_seconds.labels(*labels, stage)) for stage in STAGES]
        self._batch_size = found.batch_size.labels(*labels)
        self._padding = found.padding.labels(*labels)
        self._busy_seconds = found.busy_seconds.labels(*labels)
        self._work_seconds = found.work_seconds.labels(*labels)
        self._unmet_seconds = found.unmet_seconds.labels(*labels)
        self.state(ready=False)

    def loaded(self, provider: str, sample: Callable[[], QueueSample]) -> None:
        """Report what runs the model, and its queue as `sample` tells it from now on."""
        self._sample = sample
        self._clear(self._instruments.info)
        self._tell(self._instruments.info, 1, provider)
        self._begin_at_zero()
        self.refresh()

    def _begin_at_zero(self) -> None:
        """Show faults and refusals before there are any: to Prometheus, what begins at 1 has not risen."""
        for method in _TRANSLATES:
            for code in _FAULTS:
                self._instruments.request_seconds.labels(method, *self._labels, code)
        for reason in _NO_ROOM:
            self._instruments.refused.labels(*self._labels, reason)

    def state(self, ready: bool) -> None:
        """Report whether requests are taken."""
        self._tell(self._instruments.ready, float(ready))

    def load_failed(self) -> None:
        """Count in a file that was found unfit to be served."""
        self._instruments.load_failures.labels(*self._labels).inc()

    @contextmanager
    def run(self, rows: int, bucket: int) -> Iterator[None]:
        """Count in one run of the engine: `rows` rows of requests, filled up to `bucket`."""
        self._batch_size.observe(rows)
        self._padding.observe(bucket - rows)
        started = time.monotonic()
        try:
            with self._metrics.lane_busy():
                yield
        finally:
            self._busy_seconds.inc(time.monotonic() - started)

    def worked(self, seconds: float) -> None:
        """Count in what the rows of a run would have taken in the runs in which they take least."""
        self._work_seconds.inc(seconds)

    def unmet(self, seconds: float) -> None:
        """Count in what a request that there was no room for would have taken, likewise."""
        self._unmet_seconds.inc(seconds)

    def stages(self, timings: Timings) -> None:
        """Count in an answered request, and how long each of its stages took."""
        self._answers.inc()
        for stage, seconds in self._stages:
            seconds.observe(getattr(timings, stage))

    def left(self, why: Why) -> None:
        """Count in a request that left the queue before the engine."""
        self._instruments.dropped.labels(*self._labels, why).inc()

    def planned_anew(self) -> None:
        """Count in a batch that was changed after it was planned."""
        self._instruments.replanned.labels(*self._labels).inc()

    def cost(self, base_seconds: float, seconds_per_row: float, measured: Mapping[int, float]) -> None:
        """Report the cost model, and the seconds of a run as last known for each bucket."""
        self._tell(self._instruments.cost_base, base_seconds)
        self._tell(self._instruments.cost_row, seconds_per_row)
        for bucket, seconds in measured.items():
            self._tell(self._instruments.cost_bucket, seconds, str(bucket))

    def cache(self, hit: bool) -> None:
        """Count in a look into the cache of answers."""
        self._instruments.cache_lookups.labels(*self._labels, "hit" if hit else "miss").inc()

    def engine_failed(self) -> None:
        """Count in an engine found broken."""
        self._instruments.engine_failures.labels(*self._labels).inc()

    def engine_rebuilt(self) -> None:
        """Count in an engine built anew."""
        self._instruments.engine_rebuilds.labels(*self._labels).inc()

    def refresh(self) -> None:
        """Sample the queue."""
        if take_sample := self._sample:
            sample = take_sample()
            self._tell(self._instruments.queued, sample.requests)
            self._tell(self._instruments.queued_bytes, sample.bytes)
            self._tell(self._instruments.admitted, sample.admitted)
            self._tell(self._instruments.admitted_bytes, sample.admitted_bytes)

    def forget(self) -> None:
        """Drop the gauges now, and the counters and histograms after a while: the version is gone."""
        with self._lock:
            if self._is_gone:
                return
            self._is_gone, self._sample = True, None
        for family in {family for family, _ in self._told}:
            self._clear(family)
        self._metrics.release(self._labels)

    def _tell(self, family: Gauge, value: float, *more: str) -> None:
        with self._lock:
            # Whatever is still told of a version that is gone must not bring its gauges back.
            if not self._is_gone:
                family.labels(*self._labels, *more).set(value)
                self._told.add((family, more))

    def _clear(self, family: Gauge) -> None:
        with self._lock:
            for told in [told for told in self._told if told[0] is family]:
                labels = (*self._labels, *told[1])
                if in_worker():
                    family.labels(*labels).set(self._instruments.neutral[family])
                else:
                    family.remove(*labels)
                self._told.discard(told)


class _SampledRegistry(CollectorRegistry):
    """Has a sample taken before it is read."""

    def __init__(self, take_sample: Callable[[], None]) -> None:
        super().__init__()
        self._take_sample = take_sample

    def collect(self) -> Iterable[Metric]:
        """Return all metrics as they are now."""
        self._take_sample()
        return super().collect()


def in_worker() -> bool:
    """Return whether another process reads this one's metrics; the library decides it by the same variable."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ
