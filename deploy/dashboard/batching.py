"""How well the engine is used: batches, filling, cost, the cache in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dashboard.panels import heat, lines
from deploy.dashboard.selectors import MODEL, RELEASE, mean, rate, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

_MODEL = "model, version"


def batching() -> list[Builder[Panel]]:
    """Returns the engine's efficiency."""
    return [*_runs(), *_engine(), *_answers()]


def _rows() -> str:
    """Returns pictures (or tiles of them) through the engine, a second."""
    return total(rate("lapis_batch_size_sum"), _MODEL)


def _runs() -> list[Builder[Panel]]:
    """Returns how full runs are."""
    filling = total(rate("lapis_batch_padding_rows_sum"), _MODEL)
    return [
        lines(
            "Pictures through the engine", "Rows of requests, a second.", "short", ("{{model}} {{version}}", _rows())
        ),
        lines(
            "Pictures in a run",
            "How many pictures ride together, on average.",
            "short",
            ("{{model}} {{version}}", mean("lapis_batch_size", by=_MODEL)),
        ),
        heat(
            "Pictures in a run, all of it",
            "How many runs had how many.",
            "short",
            total(rate("lapis_batch_size_bucket"), "le"),
        ),
        lines(
            "Filling",
            "Share of a run's rows that are nobody's: what batches are filled up with, to the size of their bucket.",
            "percentunit",
            ("{{model}} {{version}}", f"{filling} / ({_rows()} + {filling})"),
        ),
        lines(
            "Batches changed after they were planned",
            "A second; because something more urgent came, or something left.",
            "short",
            ("{{model}} {{version}}", total(rate("lapis_replanned_batches_total"), _MODEL)),
        ),
    ]


def _engine() -> list[Builder[Panel]]:
    """Returns how busy lanes are, and what a run costs."""
    busy = total(rate("lapis_engine_busy_seconds_total"), _MODEL)
    return [
        lines(
            "Engine busy, by replica",
            "Share of the lanes that ran in the last 10 s.",
            "percentunit",
            ("{{pod}}", f"lapis_engine_busy_ratio{{{RELEASE}}}"),
        ),
        lines(
            "Engine busy, by model",
            "Lanes in use, on average; the line on top is how many there are.",
            "short",
            ("{{model}} {{version}}", busy),
            ("lanes", f"sum(lapis_engine_lanes{{{RELEASE}}})"),
        ),
        lines(
            "Engine time of a picture",
            "Seconds of a lane that a picture costs: what a replica can do, and what it costs to do more.",
            "s",
            ("{{model}} {{version}}", f"{busy} / {_rows()}"),
        ),
        lines(
            "Predicted cost",
            "A run of n pictures is predicted to take base + n times row; the longest of the replicas.",
            "s",
            ("base, {{model}} {{version}}", f"max by ({_MODEL}) (lapis_cost_base_seconds{{{MODEL}}})"),
            ("row, {{model}} {{version}}", f"max by ({_MODEL}) (lapis_cost_row_seconds{{{MODEL}}})"),
        ),
        lines(
            "Time of a bucket",
            "Seconds of a run of each size, as last known; the longest of the replicas.",
            "s",
            ("{{bucket}}, {{model}} {{version}}", f"max by ({_MODEL}, bucket) (lapis_cost_bucket_seconds{{{MODEL}}})"),
        ),
    ]


def _answers() -> list[Builder[Panel]]:
    """Returns what the engine answers, and what it is spared."""
    hits = total(rate("lapis_cache_lookups_total", f'{MODEL},result="hit"'), _MODEL)
    lookups = total(rate("lapis_cache_lookups_total"), _MODEL)
    return [
        lines(
            "Answered by the engine",
            "Requests a second; those answered from the cache are not among them.",
            "reqps",
            ("{{model}} {{version}}", total(rate("lapis_answers_total"), _MODEL)),
        ),
        lines(
            "Cache hits",
            "Share of the looks into the cache of answers that found one (with --cache-bytes).",
            "percentunit",
            ("{{model}} {{version}}", f"({hits} or 0 * {lookups}) / {lookups}"),
        ),
    ]
