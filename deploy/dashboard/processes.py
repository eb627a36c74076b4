"""The processes themselves: what they take of the machine, and whether they live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dashboard.panels import lines
from deploy.dashboard.selectors import RELEASE, rate, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel


def processes() -> list[Builder[Panel]]:
    """Returns CPU, memory, handles, tasks and workers, by replica."""
    return [
        lines("CPU", "Cores in use.", "short", ("{{pod}}", rate("process_cpu_seconds_total", RELEASE))),
        lines(
            "Memory",
            "Resident memory, of all processes of a replica.",
            "bytes",
            ("{{pod}}", f"process_resident_memory_bytes{{{RELEASE}}}"),
        ),
        lines("File handles", "Open files and connections.", "short", ("{{pod}}", f"process_open_fds{{{RELEASE}}}")),
        lines(
            "Tasks of the event loop",
            "A number that grows without more requests is a leak.",
            "short",
            ("{{pod}}", f"lapis_event_loop_tasks{{{RELEASE}}}"),
        ),
        lines(
            "Server processes",
            "With --workers: those that are ready, and those that there are to be.",
            "none",
            ("ready, {{pod}}", f"lapis_workers_ready{{{RELEASE}}}"),
            ("wanted, {{pod}}", f"lapis_workers{{{RELEASE}}}"),
        ),
        lines(
            "Server processes replaced",
            "With --workers: those that died and were replaced since the replica started.",
            "none",
            ("{{pod}}", total(f"lapis_worker_restarts_total{{{RELEASE}}}", "pod")),
        ),
    ]
