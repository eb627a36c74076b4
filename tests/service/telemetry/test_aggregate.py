"""Metrics of several workers, each with files of its own, read as one server's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import prometheus_client.values
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.values import MultiProcessValue

from service.telemetry.aggregate import ProcessesCollector, WorkersCollector
from service.telemetry.metrics import LINGER, Metrics, QueueSample
from service.translator import Timings

MODEL = {"model": "m", "version": "1"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Workers:
    """Makes the metrics of workers in this process, and reads them as the supervisor does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
        self._monkeypatch = monkeypatch
        self.clock = Clock()
        self.collector = WorkersCollector(folder, self.clock)
        self._registry = CollectorRegistry()
        self._registry.register(self.collector)
        self._values: dict[int, Any] = {}
        self._metrics: dict[int, Metrics] = {}

    def be(self, index: int) -> Metrics:
        """Lets this process be a worker until it is another one; returns its metrics."""
        values = self._values.setdefault(index, MultiProcessValue(lambda: index))
        self._monkeypatch.setattr(prometheus_client.values, "ValueClass", values)
        if index not in self._metrics:
            self._metrics[index] = Metrics(self.clock)
        return self._metrics[index]

    def die(self, index: int) -> None:
        del self._values[index], self._metrics[index]
        self.collector.forget(index)

    def told(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, labels)


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    return Workers(tmp_path, monkeypatch)


def serve(metrics: Metrics, lanes: int = 1, queued: int = 0) -> None:
    """Has a model that is ready, and one request answered."""
    metrics.lanes(lanes)
    model = metrics.model("m", 1)
    model.loaded("CPUExecutionProvider", lambda: QueueSample(queued, 10 * queued, queued + 1, 20))
    model.state(ready=True)
    model.stages(Timings(0.1, 0.2, 0.3, 0.4, batch_size=1))
    with model.run(3, 4):
        pass
    metrics.refresh()


def test_counters_histograms_and_queues_add_up(workers: Workers) -> None:
    serve(workers.be(0), queued=2)
    serve(workers.be(1), queued=5)
    assert workers.told("lapis_answers_total", **MODEL) == 2
    assert workers.told("lapis_stage_seconds_sum", stage="queue", **MODEL) == pytest.approx(0.4)
    assert workers.told("lapis_batch_size_bucket", le="4.0", **MODEL) == 2
    assert workers.told("lapis_batch_padding_rows_sum", **MODEL) == 2
    assert workers.told("lapis_queue_requests", **MODEL) == 7
    assert workers.told("lapis_queue_bytes", **MODEL) == 70
    assert workers.told("lapis_engine_lanes") == 2
    assert workers.told("lapis_model_info", provider="CPUExecutionProvider", **MODEL) == 1


def test_busy_ratio_is_that_of_all_lanes(workers: Workers) -> None:
    workers.be(0).lanes(1)
    busy = workers.be(1)
    busy.lanes(3)
    with busy.lane_busy(), busy.lane_busy():
        workers.clock.now += 5
        busy.refresh()
    workers.be(0).refresh()
    assert workers.told("lapis_engine_busy_ratio") == pytest.approx(0.5)


def test_model_is_ready_when_it_is_in_every_worker(workers: Workers) -> None:
    serve(workers.be(0))
    serve(workers.be(1))
    assert workers.told("lapis_model_ready", **MODEL) == 1
    workers.be(1).model("m", 1).state(ready=False)
    assert workers.told("lapis_model_ready", **MODEL) == 0


def test_dead_worker_leaves_its_counts_and_takes_its_gauges(workers: Workers) -> None:
    serve(workers.be(0), queued=2)
    serve(workers.be(1), queued=5)
    workers.die(1)
    assert workers.told("lapis_queue_requests", **MODEL) == 2
    assert workers.told("lapis_answers_total", **MODEL) == 2
    serve(workers.be(1))
    assert workers.told("lapis_answers_total", **MODEL) == 3


def test_version_that_only_some_have_forgotten_is_told_of_the_others(workers: Workers) -> None:
    serve(workers.be(1), queued=5)
    serve(workers.be(0), queued=2)
    model = workers.be(0).model("m", 1)
    model.cost(0.5, 0.25, {4: 2.0})
    assert workers.told("lapis_cost_bucket_seconds", bucket="4", **MODEL) == 2
    model.forget()
    assert workers.told("lapis_model_ready", **MODEL) == 1
    assert workers.told("lapis_queue_requests", **MODEL) == 5
    assert workers.told("lapis_cost_row_seconds", **MODEL) is None


def test_version_that_all_have_forgotten_goes_and_its_counts_linger(workers: Workers) -> None:
    for index in (0, 1):
        serve(workers.be(index))
        workers.be(index).model("m", 1).forget()
    assert workers.told("lapis_queue_requests", **MODEL) is None
    assert workers.told("lapis_model_info", provider="CPUExecutionProvider", **MODEL) is None
    workers.clock.now += LINGER - 1
    assert workers.told("lapis_answers_total", **MODEL) == 2
    workers.clock.now += 1
    assert workers.told("lapis_answers_total", **MODEL) is None
    serve(workers.be(0))
    assert workers.told("lapis_answers_total", **MODEL) == 3


def test_requests_of_no_model_are_told(workers: Workers) -> None:
    workers.be(0).refused("made-up", "1", "MODEL_NOT_FOUND")
    assert workers.told("lapis_refused_requests_total", model="", version="", reason="MODEL_NOT_FOUND") == 1


def test_file_that_is_just_being_made_does_not_break_the_scrape(workers: Workers, tmp_path: Path) -> None:
    serve(workers.be(0))
    (tmp_path / "counter_1.db").touch()
    assert workers.told("lapis_answers_total", **MODEL) == 1


def test_processes_add_up_and_dead_ones_do_not_count() -> None:
    def memory(*pids: int) -> float:
        families = {family.name: family for family in ProcessesCollector(lambda: pids).collect()}
        return float(families["process_resident_memory_bytes"].samples[0].value)

    beyond_all = 1 << 30
    alone = memory(os.getpid(), beyond_all)
    assert memory(os.getpid(), os.getpid()) == pytest.approx(2 * alone, rel=0.05)
