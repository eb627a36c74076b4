"""The first look: how much is asked, how much of it goes wrong, how long it takes, how full the service is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dashboard.panels import heat, lines, number
from deploy.dashboard.selectors import (
    ANSWERED,
    MODEL,
    OURS,
    RELEASE,
    TRANSLATIONS,
    TRIED,
    capacity_used,
    failed_share,
    latency,
    mean,
    rate,
    refused_share,
    requests,
    total,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

_STAGES = ("decode", "queue", "infer", "encode")


def glance() -> list[Builder[Panel]]:
    """Returns the figures at the top."""
    return [
        number("Requests", "Translations asked for, a second.", "reqps", requests()),
        number(
            "Failed by our fault",
            "Share of the requests in the time shown that ended with INTERNAL, UNAVAILABLE, UNKNOWN or DATA_LOSS, of "
            "all that were not their callers' own mistake.",
            "percentunit",
            failed_share(over="$__range"),
            warn=0.0005,
            alarm=0.001,
        ),
        number(
            "Refused for overload",
            "Share of the requests in the time shown that were refused because there were too many.",
            "percentunit",
            refused_share(over="$__range"),
            warn=0.001,
            alarm=0.01,
        ),
        number("Latency, 99th percentile", "99 of 100 answers took no longer.", "s", latency(0.99)),
        number(
            "Capacity used",
            "Share of what the replicas can do that is asked of them: what the service is scaled on. Above 100 % it is "
            "more than they can do.",
            "percentunit",
            capacity_used(),
            warn=0.8,
            alarm=1,
        ),
        number("Replicas", "Replicas that answer Prometheus.", "none", f"sum(up{{{RELEASE}}}) or vector(0)", least=1),
    ]


def signals() -> list[Builder[Panel]]:
    """Returns traffic, errors and latency over time."""
    return [
        lines(
            "Requests by outcome",
            "Answered; failed by our fault; refused for too many; too late; the callers' own mistakes.",
            "reqps",
            ("answered", requests(ANSWERED)),
            ("our fault", requests(OURS)),
            ("too many", requests("RESOURCE_EXHAUSTED")),
            ("too late", requests("DEADLINE_EXCEEDED")),
            ("caller's", total(rate("lapis_request_seconds_count", f'{TRANSLATIONS},code!~"{TRIED}"'))),
            stack=True,
        ),
        lines(
            "Requests that went wrong, by status",
            "Each gRPC status but OK, by method.",
            "reqps",
            (
                "{{method}} {{code}}",
                total(rate("lapis_request_seconds_count", f'{MODEL},code!="OK"'), "method, code"),
            ),
        ),
        lines(
            "Shares of faults and of refusals",
            "Of the requests that were not their callers' own mistake.",
            "percentunit",
            ("our fault", failed_share()),
            ("refused", refused_share()),
        ),
        lines(
            "Latency",
            "Time from a request's arrival to its answer, of those that were answered.",
            "s",
            *((f"p{round(100 * quantile)}", latency(quantile)) for quantile in (0.5, 0.95, 0.99)),
        ),
        heat(
            "Latency, all of it",
            "How many requests took how long.",
            "s",
            total(rate("lapis_request_seconds_bucket", f'{TRANSLATIONS},code="{ANSWERED}"'), "le"),
        ),
        lines(
            "Where the time goes",
            "Mean time of an answered request in each stage.",
            "s",
            *((name, mean("lapis_stage_seconds", f'{MODEL},stage="{name}"')) for name in _STAGES),
            stack=True,
        ),
    ]
