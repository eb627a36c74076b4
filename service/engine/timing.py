"""How long a run takes."""

from __future__ import annotations

import time
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.engine.batch import Runs, Sample
    from service.engine.contract import Pixels

# A run is timed again as long as all that was timed took less than this, in seconds, up to so many times.
_ENOUGH, _TIMES = 0.02, 10


def settle(runs: Runs, sample: Sample, sizes: Iterable[int]) -> None:
    """Run each size until its memory is allocated, its kernels are chosen and its graph is recorded."""
    for size in sizes:
        for _ in range(runs.settling):
            run_alike(runs, sample, size)


def seconds_of_run(runs: Runs, sample: Sample, size: int) -> float:
    """Return the seconds of a run of so many copies of the sample, preparing included; a mean over a few."""
    started, times = time.perf_counter(), 0
    while not times or (times < _TIMES and time.perf_counter() - started < _ENOUGH):
        run_alike(runs, sample, size)
        times += 1
    return (time.perf_counter() - started) / times


def seconds_per_picture(runs: Runs, sample: Sample, sizes: Iterable[int]) -> float:
    """Return the seconds that a picture takes, averaged over the sizes."""
    return fmean(seconds_of_run(runs, sample, size) / size for size in sizes)


def run_alike(runs: Runs, sample: Sample, size: int) -> Pixels:
    """Run as many copies of the sample, and return its translation."""
    return runs.run(runs.prepare([sample.pixels] * size, size, sample.seeds(size)))[0]
