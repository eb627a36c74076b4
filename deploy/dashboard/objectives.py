"""How fast the budgets of the objectives are used up, as the chart's recording rules reckon it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dashboard.panels import lines
from deploy.dashboard.selectors import RELEASE

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

_WINDOWS = ("1h", "6h", "3d")


def objectives() -> list[Builder[Panel]]:
    """Returns the burn of both budgets, over the longer windows of the alerts."""
    speed = "1 uses up a budget of 30 days in just these; somebody is called from 14.4 (1 h), 6 (6 h) and 1 (3 d) on."
    return [
        lines("Error budget burn", f"Requests that failed by our fault. {speed}", "short", *_burn("errors"), span=12),
        lines(
            "Latency budget burn",
            f"Answers that took longer than the objective. {speed}",
            "short",
            *_burn("slow"),
            span=12,
        ),
    ]


def _burn(what: str) -> list[tuple[str, str]]:
    budget = f"lapis:{what}:budget_ratio{{{RELEASE}}}"
    return [(window, f"lapis:{what}:ratio_rate{window}{{{RELEASE}}} / {budget}") for window in _WINDOWS]
