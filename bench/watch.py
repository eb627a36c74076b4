"""What a server says of itself and what the system says of it, while it is under load."""

from __future__ import annotations

import asyncio
import math
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_SAMPLES = 240
_REQUESTS = "lapis_request_seconds_bucket"


@dataclass
class Scrape:
    """The servers' metrics at one moment, summed over servers; gauges also over their labels."""

    counters: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    gauges: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    answered: defaultdict[float, float] = field(default_factory=lambda: defaultdict(float))


@dataclass
class Watched:
    """What was seen: seconds from the start of the load, and what each thing measured then."""

    seconds: list[float] = field(default_factory=list)
    series: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    counters: dict[str, float] = field(default_factory=dict)
    answered_within: dict[float, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def add(self, moment: float, found: dict[str, float]) -> None:
        """Takes in what was found at a moment; a series has NaN where it was not there."""
        for name in {*self.series, *found}:
            series = self.series[name]
            series.extend([math.nan] * (len(self.seconds) - len(series)))
            series.append(found.get(name, math.nan))
        self.seconds.append(moment)


class Watch:
    """Looks at servers by their metrics (`addresses`, HOST:PORT) and processes (`pids`), about `seconds` long."""

    def __init__(self, addresses: list[str], pids: list[int], seconds: float) -> None:
        self._addresses = addresses
        self._pids = pids
        self._interval = max(1.0, seconds / _MOST_SAMPLES)
        self._began = time.monotonic()
        self._first = Scrape()
        self._cpu: dict[int, float] = {}
        self.watched = Watched()

    async def begin(self) -> None:
        """Looks for the first time; raises BenchError where there is nothing to see."""
        try:
            self._first = await asyncio.to_thread(self._look)
        except OSError as error:
            raise BenchError(f"--http {','.join(self._addresses)}: no metrics there: {error}") from error
        except psutil.NoSuchProcess as error:
            raise BenchError(f"--pid {error.pid}: no such process") from error
        self._cpu = self._cpu_times()

    async def run(self) -> None:
        """Looks again and again, until cancelled; a server that is away for a while leaves a gap."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await asyncio.to_thread(self._look)
            except (OSError, psutil.NoSuchProcess):
                continue

    async def end(self) -> Watched:
        """Looks for the last time and returns all that was seen."""
        try:
            last = await asyncio.to_thread(self._look)
        except (OSError, psutil.NoSuchProcess):
            return self.watched
        seen = self.watched
        seen.counters = _grown(last.counters, self._first.counters)
        seen.answered_within = {
            bound: last.answered[bound] - self._first.answered[bound] for bound in sorted(last.answered)
        }
        seen.cpu_seconds = sum(spent - self._cpu.get(pid, 0.0) for pid, spent in self._cpu_times().items())
        if not self._pids:
            seen.cpu_seconds = seen.counters.get("process_cpu_seconds_total", 0.0)
        seen.wall_seconds = time.monotonic() - self._began
        return seen

    def _look(self) -> Scrape:
        scraped = Scrape()
        for address in self._addresses:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                _read(answer.read().decode(), scraped)
        self.watched.add(time.monotonic() - self._began, {**scraped.gauges, **self._processes()})
        return scraped

    def _processes(self) -> dict[str, float]:
        """Returns memory, threads and file handles of the processes and of those they started."""
        family = [process for pid in self._pids for process in _family(pid)]
        if not family:
            return {}
        return {
            "rss_bytes": sum(process.memory_info().rss for process in family),
            "threads": sum(process.num_threads() for process in family),
            "open_files": sum(process.num_fds() for process in family),
        }

    def _cpu_times(self) -> dict[int, float]:
        family = [process for pid in self._pids for process in _family(pid)]
        return {process.pid: sum(process.cpu_times()[:2]) for process in family}


def gauges(text: str) -> dict[str, float]:
    """Returns what a server's metrics say of the moment, summed over labels."""
    scrape = Scrape()
    _read(text, scrape)
    return scrape.gauges


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _read(text: str, scrape: Scrape) -> None:
    """Adds what one server's metrics say; of histograms, their counts and sums, and how long answered requests took."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _REQUESTS and sample.labels.get("code") == "OK":
                if sample.labels.get("method", "").startswith("Translate"):
                    scrape.answered[float(sample.labels["le"])] += sample.value
            elif sample.name.endswith("_created"):
                continue
            elif family.type == "gauge":
                scrape.gauges[sample.name] += sample.value
            elif sample.name.endswith(("_total", "_count", "_sum")):
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                scrape.counters[f"{sample.name}{{{labels}}}" if labels else sample.name] += sample.value


def _grown(last: Mapping[str, float], first: Mapping[str, float]) -> dict[str, float]:
    changes = {name: value - first.get(name, 0.0) for name, value in sorted(last.items())}
    return {name: change for name, change in changes.items() if change}
