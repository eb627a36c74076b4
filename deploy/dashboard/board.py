"""The whole dashboard: its variables and its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, VariableRefresh, VariableSort

from deploy.dashboard.batching import batching
from deploy.dashboard.gpus import gpus
from deploy.dashboard.objectives import objectives
from deploy.dashboard.panels import DATASOURCE
from deploy.dashboard.processes import processes
from deploy.dashboard.scaling import scaling
from deploy.dashboard.selectors import RELEASE
from deploy.dashboard.signals import glance, signals
from deploy.dashboard.versions import models, rollouts
from deploy.dashboard.waiting import waiting

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

_ROWS = {
    "At a glance": glance,
    "Traffic, errors and latency": signals,
    "Objectives": objectives,
    "Scaling": scaling,
    "Queue and deadlines": waiting,
    "Batching": batching,
    "Models and versions": models,
    "Rollouts": rollouts,
    "GPU": gpus,
    "Processes": processes,
}


def build() -> Dashboard:
    """Returns the dashboard, with the uid and title of one that stands alone: the chart gives each release its own."""
    board = (
        sdk.Dashboard("Lapis")
        .uid("lapis")
        .description("Paired image-to-image translation: what is asked, what it takes, and what it runs on.")
        .tags(["lapis"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .annotation(_alerts())
    )
    for variable in (
        _datasource(),
        _choice("namespace", "lapis_in_flight_requests"),
        _release(),
        *_model_and_version(),
    ):
        board.with_variable(variable)
    for title, panels in _ROWS.items():
        board.with_row(sdk.Row(title))
        for panel in panels():
            board.with_panel(panel)
    return _numbered(board.build())


def _numbered(board: Dashboard) -> Dashboard:
    """Gives panels the ids by which links name them."""
    for number, panel in enumerate(board.panels or (), 1):
        panel.id_val = number
    return board


def _datasource() -> sdk.DatasourceVariable:
    return sdk.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _release() -> sdk.QueryVariable:
    return _choice("job", 'lapis_in_flight_requests{namespace="$namespace"}').label("Release")


def _model_and_version() -> list[sdk.QueryVariable]:
    model = _choice("model", f"lapis_model_ready{{{RELEASE}}}")
    version = _choice("version", f'lapis_model_ready{{{RELEASE},model=~"$model"}}')
    # All of them, also the empty name under which requests for no model of ours are counted.
    return [variable.include_all(True).multi(True).all_value(".*") for variable in (model, version)]


def _choice(label: str, series: str) -> sdk.QueryVariable:
    """Returns a variable whose values are those that a label has."""
    return (
        sdk.QueryVariable(label)
        .label(label.capitalize())
        .datasource(DATASOURCE)
        .query(f"label_values({series}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


def _alerts() -> sdk.AnnotationQuery:
    """Returns marks on all panels where an alert of the release fires."""
    return (
        sdk.AnnotationQuery()
        .name("Alerts")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("red")
        .expr(f'ALERTS{{alertname=~"Lapis.*",alertstate="firing",{RELEASE}}}')
    )
