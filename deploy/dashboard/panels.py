"""The kinds of panel that the dashboard is made of. A panel's queries are pairs of a legend and PromQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

Query = tuple[str, str]


def lines(
    title: str, description: str, unit: str, *queries: Query, span: int = 8, stack: bool = False
) -> Builder[Panel]:
    """Returns curves over time, stacked on each other where they add up to something."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(8)
        .fill_opacity(40 if stack else 8)
        .show_points(shapes.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.TABLE)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["mean", "max"])
        )
    )
    if stack:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    return _asking(panel, queries)


def number(
    title: str, description: str, unit: str, query: str, *, warn: float = 0, alarm: float = 0, least: float = 0
) -> Builder[Panel]:
    """Returns one figure, green, or yellow from `warn` and red from `alarm` on, or red below `least`."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(4)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(sdk.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(_steps(warn, alarm, least)))
    )
    target = _query(("", query), 0)
    # What looks over the whole time shown is asked for once: at each step, it would look over as much again.
    return panel.with_target(target.instant() if "$__range" in query else target)


def _steps(warn: float, alarm: float, least: float) -> list[Threshold]:
    colors = [(least, "green"), (warn, "yellow"), (alarm, "red")]
    lowest = Threshold(value=None, color="red" if least else "green")
    return [lowest, *(Threshold(value=value, color=color) for value, color in colors if value)]


def heat(title: str, description: str, unit: str, query: str, *, span: int = 8) -> Builder[Panel]:
    """Returns a histogram over time; the query gives its buckets by `le`."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(span)
        .height(8)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .with_target(_query(("{{le}}", query), 0).format(PromQueryFormat.HEATMAP))
    )


def _asking(panel: timeseries.Panel, queries: Sequence[Query]) -> Builder[Panel]:
    for index, query in enumerate(queries):
        panel.with_target(_query(query, index))
    return panel


def _query(query: Query, index: int) -> prometheus.Dataquery:
    legend, expr = query
    return prometheus.Dataquery().ref_id(chr(ord("A") + index)).expr(expr).legend_format(legend).range()
