"""What is asked of the replicas, how many there are to be, and how many have come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.dashboard.panels import lines
from deploy.dashboard.selectors import RELEASE, capacity_used, unmet, work

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

# As kube-state-metrics knows the release; the middle of three is KServe's.
_DEPLOYMENTS = 'namespace="$namespace",deployment=~"$job(-predictor|-canary)?"'
_AUTOSCALER = 'namespace="$namespace",horizontalpodautoscaler=~"(keda-hpa-)?$job"'


def scaling() -> list[Builder[Panel]]:
    """Returns the measure that replicas are scaled by, and what became of it."""
    lanes = f"scalar(avg(lapis_engine_lanes{{{RELEASE}}} > 0))"
    return [
        lines(
            "Capacity used, by track",
            "Share of what the replicas can do that is asked of them; the target is what scaling keeps it at "
            "(autoscaling.busy.target).",
            "percentunit",
            ("{{track}}", capacity_used("track")),
            ("target", f"lapis:capacity_used:target_ratio{{{RELEASE}}}"),
        ),
        lines(
            "Work, in replicas",
            "How many replicas would be wholly busy with what was done, and with what there was no room for.",
            "short",
            ("done", f"{work()} / {lanes}"),
            ("no room", f"{unmet()} / {lanes}"),
            stack=True,
        ),
        lines(
            "Replicas wanted and there",
            "As kube-state-metrics tells of the Deployments and of the autoscaler; nothing where it is not scraped.",
            "none",
            ("wanted, {{deployment}}", _deployments("spec_replicas")),
            ("available, {{deployment}}", _deployments("status_replicas_available")),
            ("the autoscaler asks for", _autoscaler("status_desired_replicas")),
            ("the autoscaler's most", _autoscaler("spec_max_replicas")),
        ),
    ]


def _deployments(what: str) -> str:
    return f"max by (deployment) (kube_deployment_{what}{{{_DEPLOYMENTS}}})"


def _autoscaler(what: str) -> str:
    return f"max(kube_horizontalpodautoscaler_{what}{{{_AUTOSCALER}}})"
