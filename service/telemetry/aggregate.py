"""The metrics of several workers as those of one server.

Each worker writes its figures to files of its own, by prometheus_client's multiprocess mode; whoever is scraped reads
them. Counters and histograms add up, and those of a worker that died stay in: a counter never goes back. Of a gauge,
those of the living workers count, added up, or the least or the most of them (instruments.py says which).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from prometheus_client import ProcessCollector
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.telemetry.metrics import LINGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

    Labels = tuple[str, str]


class WorkersCollector(Collector):
    """Reads what the workers wrote into `folder`."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._gone: dict[Labels, float] = {}

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: which metrics there are is for the workers to say."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all workers as one server's."""
        families = {family.name: family for family in self._read()}
        self._note_gone(families)
        lanes = sum(sample.value for sample in _samples(families, "lapis_engine_lanes"))
        for name, family in families.items():
            family.samples = [sample for sample in family.samples if self._counts(family.type, sample)]
            if name == "lapis_engine_busy_ratio":
                # Each worker tells how many of its lanes are busy.
                family.samples = [sample._replace(value=sample.value / max(1.0, lanes)) for sample in family.samples]
            if family.samples:
                yield family

    def forget(self, worker: int) -> None:
        """Let the gauges of a worker that died count no more."""
        mark_process_dead(worker, str(self._folder))  # type: ignore[no-untyped-call]

    def _read(self) -> Iterable[Metric]:
        files = [str(path) for path in self._folder.glob("*.db") if _is_written(path)]
        families: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return families

    def _note_gone(self, families: dict[str, Metric]) -> None:
        """Note since when each version has been gone from all workers."""
        now = self._clock()
        there = {_model(sample) for sample in _samples(families, "lapis_model_ready") if math.isfinite(sample.value)}
        told = {_model(sample) for family in families.values() for sample in family.samples}
        self._gone = {labels: self._gone.get(labels, now) for labels in told - there - {("", "")}}

    def _counts(self, kind: str, sample: Sample) -> bool:
        """Return whether a sample is of a version that is there, or lately was and has counters that linger."""
        since = self._gone.get(_model(sample))
        if kind == "gauge":
            # What no worker tells any more has the value that changes no result.
            return since is None and math.isfinite(sample.value)
        return since is None or self._clock() - since < LINGER


class ProcessesCollector(Collector):
    """What the operating system tells of several processes, added up; the start is that of the first."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        self._pids = pids

    def describe(self) -> Iterable[Metric]:
        """Yield nothing: the names are the library's."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the sums over the processes that live."""
        sums: dict[str, Metric] = {}
        for pid in self._pids():
            for family in _process(pid):
                if family.name not in sums:
                    sums[family.name] = family
                elif family.name != "process_start_time_seconds":
                    ours, theirs = sums[family.name].samples[0], family.samples[0]
                    sums[family.name].samples = [ours._replace(value=ours.value + theirs.value)]
        yield from sums.values()


def _is_written(path: Path) -> bool:
    """Return whether there is anything in a file; the library does not expect one that is just being made."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # of a worker that has just died
        return False


def _process(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _samples(families: dict[str, Metric], name: str) -> list[Sample]:
    return families[name].samples if name in families else []


def _model(sample: Sample) -> Labels:
    return sample.labels.get("model", ""), sample.labels.get("version", "")
