"""Models and their versions, and how a new one does beside the old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dashboard.panels import lines
from deploy.dashboard.selectors import (
    ANSWERED,
    MODEL,
    RELEASE,
    TRANSLATIONS,
    failed_share,
    latency,
    rate,
    requests,
    total,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

_MODEL = "model, version"


def models() -> list[Builder[Panel]]:
    """Returns what each version of each model does."""
    return [
        lines("Requests by version", "A second.", "reqps", ("{{model}} {{version}}", requests(by=_MODEL)), stack=True),
        lines(
            "Faults by version",
            "Share of the requests that failed by our fault.",
            "percentunit",
            ("{{model}} {{version}}", failed_share(_MODEL)),
        ),
        lines(
            "Latency by version, 95th percentile",
            "Of the requests that were answered.",
            "s",
            ("{{model}} {{version}}", latency(0.95, _MODEL)),
        ),
        lines(
            "Replicas in which a version is ready",
            "A version that loads, drains or failed is not ready.",
            "none",
            ("{{model}} {{version}}", total(f"lapis_model_ready{{{MODEL}}}", _MODEL)),
        ),
        lines(
            "Files that could not be served",
            "Since the replicas started, over all that there are.",
            "none",
            ("{{model}} {{version}}", total(f"lapis_model_load_failures_total{{{MODEL}}}", _MODEL)),
        ),
        lines(
            "Engines that broke",
            "Found broken, and built anew, since the replicas started, over all that there are.",
            "none",
            (
                "broke, {{model}} {{version}}",
                total(f"lapis_engine_failures_total{{{MODEL}}}", _MODEL),
            ),
            (
                "rebuilt, {{model}} {{version}}",
                total(f"lapis_engine_rebuilds_total{{{MODEL}}}", _MODEL),
            ),
        ),
    ]


def rollouts() -> list[Builder[Panel]]:
    """Returns stable and canary, builds and replicas side by side."""
    by_pod = total(rate("lapis_request_seconds_count", f'{TRANSLATIONS},code=~"{ANSWERED}"'), "pod")
    return [
        lines("Requests by track", "Stable and canary.", "reqps", ("{{track}}", requests(by="track"))),
        lines(
            "Faults by track",
            "Share of the requests that failed by our fault.",
            "percentunit",
            ("{{track}}", failed_share("track")),
        ),
        lines(
            "Latency by track, 95th percentile",
            "Of the requests that were answered.",
            "s",
            ("{{track}}", latency(0.95, "track")),
        ),
        lines(
            "Replicas by build",
            "How many replicas run which version of Lapis, by track.",
            "none",
            ("{{track}} {{version}}", f"count by (track, version) (lapis_build_info{{{RELEASE}}})"),
        ),
        lines("Answers by replica", "Whether calls spread evenly.", "reqps", ("{{pod}}", by_pod)),
        lines(
            "Age of replicas",
            "Time since the process started; a line that falls to 0 is a restart.",
            "s",
            ("{{pod}}", f"time() - process_start_time_seconds{{{RELEASE}}}"),
        ),
    ]
