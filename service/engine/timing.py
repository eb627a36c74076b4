"""How long a run takes."""

from __future__ import annotations

import time
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from service.engine.batch import Runs

    Pixels = NDArray[np.uint8]

# A run is timed again as long as all that was timed took less than this, in seconds, up to so many times.
_ENOUGH, _TIMES = 0.02, 10


def settle(runs: Runs, picture: Pixels, sizes: Iterable[int]) -> None:
    """Run each size until its memory is allocated, its kernels are chosen and its graph is recorded."""
    for size in sizes:
        for _ in range(runs.settling):
            run_alike(runs, picture, size)


def seconds_of_run(runs: Runs, picture: Pixels, size: int) -> float:
    """Return the seconds of a run of so many copies of the picture, preparing included; a mean over a few."""
    started, times = time.perf_counter(), 0
    while not times or (times < _TIMES and time.perf_counter() - started < _ENOUGH):
        run_alike(runs, picture, size)
        times += 1
    return (time.perf_counter() - started) / times


def seconds_per_picture(runs: Runs, picture: Pixels, sizes: Iterable[int]) -> float:
    """Return the seconds that a picture takes, averaged over the sizes."""
    return fmean(seconds_of_run(runs, picture, size) / size for size in sizes)


def run_alike(runs: Runs, picture: Pixels, size: int) -> Pixels:
    """Run as many copies of the picture, and return its translation."""
    return runs.run(runs.prepare([picture] * size, size))[0]
