"""A real Prometheus of one's own: it scrapes what it is told to, in a folder that goes with it, and can be asked.

What it has seen can be written as the input of `promtool test rules` (`dump`), so that rules are tested on a load that
was really there.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_START = 30.0
_STOP = 20.0
_PAUSE = 0.1
_LISTENING = re.compile(r'msg="?Listening on"? address=([\d.]+:\d+)')
_JOB = "lapis"


@dataclass(frozen=True)
class Target:
    """What is scraped: HOST:PORT, and the labels that a cluster's relabeling would give to its series.

    `job` among the labels goes before Prometheus' own.
    """

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = "/metrics"

    def as_group(self) -> dict[str, Any]:
        """Returns the target as Prometheus' service discovery by files wants it."""
        return {"targets": [self.address], "labels": {"__metrics_path__": self.path, **self.labels}}


@dataclass(frozen=True)
class Sample:
    """One series at one time."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Track:
    """One series over time: pairs of seconds since 1970 and a value."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


def find(program: str) -> str | None:
    """Returns where `prometheus` or `promtool` is: on the machine, or where deploy/tools.py puts it; or None."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.prefix) / "bin"))


class Prometheus:
    """A Prometheus on a free port, for as long as the block runs.

    It scrapes `targets`, and evaluates the files `rules` (Prometheus' own form: `groups: …`), each `interval` seconds.
    Raises BenchError where the program is not installed, or refuses its configuration.
    """

    def __init__(self, targets: Iterable[Target], interval: float = 1.0, rules: Sequence[Path] | None = None) -> None:
        self._targets = list(targets)
        self._interval = interval
        self._rules = [str(path.resolve()) for path in rules or ()]
        self._folder = Path()
        self._process: subprocess.Popen[str] | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._listens = threading.Event()
        self.address = ""

    def __enter__(self) -> Self:
        if not (program := find("prometheus")):
            raise BenchError("prometheus is not installed; deploy/tools.py brings it, or Debian's package prometheus")
        self._folder = Path(tempfile.mkdtemp(prefix="lapis-prometheus-"))
        self._configure()
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            [program, *self._flags()], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        self._until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def retarget(self, targets: Iterable[Target]) -> None:
        """Scrapes these from now on, as when replicas come and go; it takes a few seconds to be noticed."""
        self._targets = list(targets)
        partial = self._folder / "partial"
        partial.write_text(json.dumps([target.as_group() for target in self._targets]))
        partial.rename(self._folder / "targets.json")

    def query(self, promql: str, at: float | None = None) -> list[Sample]:
        """Returns what an expression gives at a time (seconds since 1970), or now; a scalar has no labels.

        Raises BenchError, with Prometheus' own words, for what is no PromQL.
        """
        when = {} if at is None else {"time": f"{at:.3f}"}
        found = self._get("query", query=promql, **when)
        if found["resultType"] == "scalar":
            return [Sample({}, float(found["result"][1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in found["result"]]

    def range(self, promql: str, start: float, end: float, step: float) -> list[Track]:
        """Returns what an expression gives from `start` to `end` (seconds since 1970), each `step` seconds."""
        found = self._get("query_range", query=promql, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:g}")
        return [
            Track(one["metric"], [(float(when), float(value)) for when, value in one["values"]])
            for one in found["result"]
        ]

    def series(self, match: str = '{__name__=~".+"}') -> list[dict[str, str]]:
        """Returns the labels of every series that a selector names."""
        found: list[dict[str, str]] = self._get("series", **{"match[]": match})
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Returns every rule with its state, as `/api/v1/rules` tells it; `lastError` is empty while all is well."""
        groups = self._get("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Returns the alerts that are pending or firing."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """Returns what is scraped, with the health of each."""
        found: list[dict[str, Any]] = self._get("targets", state="active")["activeTargets"]
        return found

    def until(self, promql: str, holds: Callable[[list[Sample]], bool] = bool, within: float = 60.0) -> list[Sample]:
        """Asks again and again until the answer is as wanted, and returns it; raises BenchError where it never is."""
        end = time.monotonic() + within
        while not holds(found := self.query(promql)):
            if time.monotonic() > end:
                raise BenchError(f"{promql}: gave {found or 'nothing'} for {within:g} s")
            time.sleep(_PAUSE)
        return found

    def dump(self, match: str, start: float, end: float, step: float) -> list[dict[str, str]]:
        """Returns the series that a selector names as `input_series` of a promtool test whose interval is `step`."""
        return [{"series": _notation(track.labels), "values": _values(track, start, end, step)}
                for track in self.range(match, start, end, step)]  # fmt: skip

    def _configure(self) -> None:
        self.retarget(self._targets)
        seconds = f"{round(self._interval * 1000)}ms"
        scrape = {"job_name": _JOB, "file_sd_configs": [{"files": [str(self._folder / "targets.json")]}]}
        times = {"scrape_interval": seconds, "scrape_timeout": seconds, "evaluation_interval": seconds}
        config = {"global": times, "scrape_configs": [scrape], "rule_files": self._rules}
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config, sort_keys=False))

    def _flags(self) -> list[str]:
        return [
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--log.format=logfmt",
        ]

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Reads the log to its end, for the address and for the last words."""
        for line in process.stderr or ():
            self._said.append(line.strip())
            if found := _LISTENING.search(line):
                self.address = found[1]
                self._listens.set()
        self._listens.set()

    def _until_ready(self) -> None:
        end = time.monotonic() + _START
        while not (self._listens.is_set() and self._is_ready()):
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > end:
                last = next((line for line in reversed(self._said) if "err=" in line), "it said nothing of why")
                self.__exit__()
                raise BenchError(f"prometheus did not start: {last}")
            time.sleep(_PAUSE)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def _get(self, what: str, **parameters: str) -> Any:  # noqa: ANN401 (JSON)
        form = urllib.parse.urlencode(parameters).encode()
        method = "POST" if what.startswith("query") else "GET"  # a dashboard's query may be too long for a URL
        url = f"http://{self.address}/api/v1/{what}" + ("" if method == "POST" else f"?{form.decode()}")
        request = urllib.request.Request(url, form if method == "POST" else None, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (http)
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise BenchError(f"{' '.join(parameters.values())}: {json.load(error)['error']}") from error


def _notation(labels: Mapping[str, str]) -> str:
    inner = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items()) if name != "__name__")
    return f"{labels.get('__name__', '')}{{{inner}}}"


def _values(track: Track, start: float, end: float, step: float) -> str:
    """Writes a track on its grid in promtool's notation; `_` where it has no value."""
    known = {round((when - start) / step): value for when, value in track.points}
    steps = range(round((end - start) / step) + 1)
    return " ".join(_number(known[index]) if index in known else "_" for index in steps)


def _number(value: float) -> str:
    """Writes a value so that promtool reads the same; it knows no infinity, which no counter of ours has."""
    return "_" if not math.isfinite(value) else repr(int(value)) if value == int(value) else repr(value)
