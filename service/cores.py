"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")

# Which of how many processes this is that share the cores alike.
_share = (0, 1)


def share(index: int, processes: int) -> None:
    """Take as many cores as fall to the one at `index` (from 0) of the processes that share them.

    Nothing is pinned: where a quota allows a few of many cores, the servers on a machine would all take the same ones.
    """
    global _share  # noqa: PLW0603 (a fact about the process, told once at its start)
    _share = (index, processes)


def available_cores(cgroups: Path = _CGROUPS) -> int:
    """Return the cores this process may use, at least 1.

    A container's CPU limit does not show in the number of cores but as a quota of its control group: microseconds
    of CPU time per period.
    """
    index, processes = _share
    whole, rest = divmod(_cores_of_all(cgroups), processes)
    return max(1, whole + (index < rest))


def _cores_of_all(cgroups: Path) -> int:
    cores = len(os.sched_getaffinity(0))
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):  # the second version and the first
        try:
            allowed, period = map(int, " ".join((cgroups / file).read_text(encoding="ascii") for file in files).split())
        except (OSError, ValueError):  # not there, or "max"
            continue
        if allowed > 0 and period > 0:
            return max(1, min(cores, allowed // period))
    return cores
