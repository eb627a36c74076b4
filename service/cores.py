"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores(quota: Path = _CGROUP_QUOTA) -> int:
    """Return the cores this process may use, at least 1.

    A container's CPU limit does not show in the number of cores but as a quota, read from the control group (`cpu.max`:
    microseconds of CPU time, or "max", per period).
    """
    cores = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):  # no control groups, or none of the second version
        return cores
    return cores if allowed == "max" else max(1, min(cores, int(allowed) // int(period)))
