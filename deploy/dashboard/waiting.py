"""What waits for the engine, and what does not get there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dashboard.panels import heat, lines
from deploy.dashboard.selectors import MODEL, RELEASE, TRIED, rate, requests, stage, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel


def waiting() -> list[Builder[Panel]]:
    """Returns queues, refusals and deadlines."""
    return [*_queues(), *_losses()]


def _queues() -> list[Builder[Panel]]:
    """Returns how long requests wait, and how many."""
    return [
        lines(
            "Time in the queue",
            "How long answered requests had waited for the engine.",
            "s",
            *((f"p{round(100 * quantile)}", stage(quantile, "queue")) for quantile in (0.5, 0.95, 0.99)),
        ),
        heat(
            "Time in the queue, all of it",
            "How many requests waited how long.",
            "s",
            total(rate("lapis_stage_seconds_bucket", f'{MODEL},stage="queue"'), "le"),
        ),
        lines(
            "What waits",
            "Pictures (tiles of large ones each for itself) that wait for the engine, by replica.",
            "short",
            ("{{pod}}", total(f"lapis_queue_requests{{{MODEL}}}", "pod")),
        ),
        lines(
            "What is held",
            "Requests that were admitted and are not answered yet, by replica; --max-queue bounds them for each model.",
            "short",
            ("{{pod}} {{model}}", total(f"lapis_admitted_requests{{{MODEL}}}", "pod, model")),
        ),
        lines(
            "Bytes that are held",
            "Of admitted requests, and of those that wait for the engine.",
            "bytes",
            ("held, {{pod}}", total(f"lapis_admitted_bytes{{{MODEL}}}", "pod")),
            ("waiting, {{pod}}", total(f"lapis_queue_bytes{{{MODEL}}}", "pod")),
        ),
        lines(
            "In flight",
            "Requests being served, by replica.",
            "short",
            ("{{pod}}", f"lapis_in_flight_requests{{{RELEASE}}}"),
        ),
    ]


def _losses() -> list[Builder[Panel]]:
    """Returns what is not answered, and why."""
    tried = requests(TRIED)
    late = requests("DEADLINE_EXCEEDED")
    return [
        lines(
            "Refusals by reason",
            "Requests that ended in an error, by the reason that their callers were told.",
            "reqps",
            ("{{reason}}", total(rate("lapis_refused_requests_total", RELEASE), "reason")),
        ),
        lines(
            "Dropped before the engine",
            "Requests that left the queue: their caller did, their deadline passed, or others took their place.",
            "reqps",
            ("{{reason}}", total(rate("lapis_dropped_requests_total"), "reason")),
        ),
        lines(
            "Deadlines missed",
            "Share of the requests that were not answered by their deadline.",
            "percentunit",
            ("too late", f"({late} or 0 * {tried}) / {tried}"),
        ),
    ]
