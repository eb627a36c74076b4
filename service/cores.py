"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")

# Which of how many processes this is that share the cores alike.
_share = (0, 1)


def share(index: int, processes: int) -> None:
    """Take as many cores as fall to the one at `index` (from 0) of the processes that share them.

    Nothing is pinned: where a quota allows a few of many cores, the servers on a machine would all take the same ones.
    """
    global _share  # noqa: PLW0603 (a fact about the process, told once at its start)
    _share = (index, processes)


def available_cores(quota: Path = _CGROUP_QUOTA) -> int:
    """Return the cores this process may use, at least 1.

    A container's CPU limit does not show in the number of cores but as a quota, read from the control group (`cpu.max`:
    microseconds of CPU time, or "max", per period).
    """
    index, processes = _share
    whole, rest = divmod(_cores_of_all(quota), processes)
    return max(1, whole + (index < rest))


def _cores_of_all(quota: Path) -> int:
    cores = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):  # no control groups, or none of the second version
        return cores
    return cores if allowed == "max" else max(1, min(cores, int(allowed) // int(period)))
