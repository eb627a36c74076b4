"""Where all models run: on which devices, how many runs at once, and each on how many threads."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.cores import available_cores
from service.engine.contract import read_contract
from service.engine.cuda import gpu_count
from service.engine.providers import split_device
from service.engine.session import DeviceUnavailable, open_session
from service.engine.unbound import UnboundRuns
from service.errors import InferenceFailed, StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.engine.options import EngineOptions

# Seconds that each way of using the CPU is measured for in a round, at least one run. What else goes on in the machine
# falls on either: until runs side by side are better by this factor, there are more rounds.
_LOOK, _ROUNDS, _CLEARLY = 0.02, 3, 1.1


@dataclass(frozen=True)
class Lane:
    """A place where one run goes on at a time: `device` is "cpu", "cuda:0" or "tensorrt:1"."""

    device: str
    threads: int


@dataclass(frozen=True)
class Placement:
    """The lanes that all models share.

    `cpu_mode` is "throughput" or "latency", and "" on a GPU. `measured` has pictures/s by CPU mode, where that was
    measured.
    """

    lanes: tuple[Lane, ...]
    on_gpu: bool
    cpu_mode: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)


def place(path: Path, options: EngineOptions) -> Placement:
    """Return where models run best, judged by the model at `path`; takes about as long as half a dozen runs of it.

    Raises StartupError when that is no model, and DeviceUnavailable when a GPU was asked for and there is none such.
    """
    devices = tuple(dict.fromkeys(_numbered(device) for device in options.devices))
    if devices == ("auto",):
        devices = (_best_device(path),)
    if devices == ("cpu",):
        return _place_on_cpu(path, options)
    for device in devices:
        _see(device)
    return Placement(tuple(Lane(device, 1) for device in devices for _ in range(options.instances or 1)), on_gpu=True)


def _numbered(device: str) -> str:
    return device if device in {"auto", "cpu"} else "{}:{}".format(*split_device(device))


def _see(device: str) -> None:
    """Raise DeviceUnavailable where there is no such GPU; whether it runs models is seen when one is loaded."""
    count = gpu_count()
    if split_device(device)[1] >= count:
        seen = f"only {count}" if count else "none: there is no NVIDIA driver, or CUDA_VISIBLE_DEVICES hides them all"
        raise DeviceUnavailable(f"asked for a GPU ({device}), but this process sees {seen}")


def _best_device(path: Path) -> str:
    """Return the first GPU where that runs the model, else the CPU."""
    if not gpu_count():
        return "cpu"
    try:
        Trial(path, (Lane("cuda:0", 1),)).run()
    except (DeviceUnavailable, StartupError, InferenceFailed):
        return "cpu"  # which tells what is wrong with the model, if that was it
    return "cuda:0"


def _place_on_cpu(path: Path, options: EngineOptions) -> Placement:
    cores = available_cores()
    if options.instances:
        lanes = spread(cores, options.instances, alone=options.cpu_mode == "throughput")
        return Placement(lanes, on_gpu=False, cpu_mode="throughput" if len(lanes) > 1 else "latency")
    choices = {"throughput": spread(cores, cores), "latency": spread(cores, 1)}
    if options.cpu_mode != "auto":
        return Placement(choices[options.cpu_mode], on_gpu=False, cpu_mode=options.cpu_mode)
    if cores == 1:
        return Placement(choices["throughput"], on_gpu=False, cpu_mode="throughput")
    measured = _measure(path, choices)
    # What else the machine does halves a run that needs all cores at once, and may spoil a look at either: without a
    # clear difference the one that stands it better is taken.
    best = "latency" if measured["latency"] > measured["throughput"] * _CLEARLY else "throughput"
    return Placement(choices[best], on_gpu=False, cpu_mode=best, measured=measured)


def spread(cores: int, lanes: int, *, alone: bool = False) -> tuple[Lane, ...]:
    """Return the lanes, with the cores shared out among them, each with one thread at least, or with one `alone`."""
    return (Lane("cpu", 1 if alone else max(1, cores // lanes)),) * lanes


def _measure(path: Path, choices: Mapping[str, tuple[Lane, ...]]) -> dict[str, float]:
    """Return the most pictures/s of a round, by CPU mode, with every lane busy."""
    with ThreadPoolExecutor(len(choices)) as threads:
        trials = dict(zip(choices, threads.map(functools.partial(Trial, path), choices.values()), strict=True))
    best = dict.fromkeys(choices, 0.0)
    for _ in range(_ROUNDS):
        for mode, trial in trials.items():
            best[mode] = max(best[mode], trial.pictures_per_second())
        if best["throughput"] > best["latency"] * _CLEARLY:
            break
    return best


class Trial:
    """Runs a blank picture again and again on every lane."""

    def __init__(self, path: Path, lanes: tuple[Lane, ...]) -> None:
        session = open_session(path, lanes[0].device, lanes[0].threads)
        contract = read_contract(path, session)
        self._runs = UnboundRuns(session)
        self._blank = self._runs.prepare([contract.input.blank()], 1, [0] * contract.takes_seed)
        self._lanes = len(lanes)
        self._runs_ahead = 1  # the first run allocates

    def run(self) -> None:
        """Run it once; raises InferenceFailed."""
        self._runs.run(self._blank)

    def pictures_per_second(self) -> float:
        """Return the sum over the lanes; 0 where the model fails, which is told when it is loaded."""
        try:
            with ThreadPoolExecutor(self._lanes) as threads:
                rate = sum(threads.map(self._work, range(self._lanes)))
        except InferenceFailed:
            return 0.0
        self._runs_ahead = 0
        return rate

    def _work(self, _: int) -> float:
        for _ in range(self._runs_ahead):
            self.run()
        started, times = time.perf_counter(), 0
        while not times or time.perf_counter() - started < _LOOK:
            self.run()
            times += 1
        return times / (time.perf_counter() - started)
