"""What rules, dashboard and runbooks ask for is what the service tells, by name, label and value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from grpc import StatusCode
from lapis.v1 import repository_pb2, translation_pb2

from service import errors
from service.engine.providers import _KINDS as PROVIDERS
from service.telemetry.metrics import STAGES

# Given by the scrape.
TARGET = {"namespace", "job", "pod", "instance", "track"}
# Of others than the service.
FOREIGN = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate"},
    "kube_horizontalpodautoscaler_status_condition": {"horizontalpodautoscaler", "condition", "status"},
    "kube_horizontalpodautoscaler_status_desired_replicas": {"horizontalpodautoscaler"},
    "kube_horizontalpodautoscaler_spec_max_replicas": {"horizontalpodautoscaler"},
    "kube_deployment_spec_replicas": {"deployment"},
    "kube_deployment_status_replicas": {"deployment"},
    "kube_deployment_status_replicas_available": {"deployment"},
    "kube_deployment_status_replicas_updated": {"deployment"},
    "kube_deployment_status_condition": {"deployment", "condition", "status"},
    "keda_scaled_object_errors_total": {"scaledObject", "exported_namespace"},
    "keda_scaler_detail_errors_total": {"scaledObject", "scaler", "metric", "exported_namespace"},
    "certmanager_certificate_renewal_timestamp_seconds": {"name", "exported_namespace"},
    "certmanager_certificate_expiration_timestamp_seconds": {"name", "exported_namespace"},
}
ADMINISTRATION = {"ListModels", "GetModel", "LoadModel", "UnloadModel"}
VALUES = {
    "code": {code.name for code in StatusCode},
    "reason": {error.reason for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "reason")},
    "method": {
        method.name
        for protocol in (translation_pb2, repository_pb2)
        for service in protocol.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    },
    "stage": set(STAGES),
    "provider": set(PROVIDERS.values()),
    "result": {"hit", "miss"},
}


@pytest.fixture(params=["rules", "dashboard", "runbooks"])
def asked(
    request: pytest.FixtureRequest,
    every_rule: list[dict[str, Any]],
    dashboard_queries: list[str],
    runbook_queries: dict[str, list[str]],
) -> list[str]:
    """All PromQL of one of the three."""
    by_kind = {
        "rules": [rule["expr"] for rule in every_rule],
        "dashboard": dashboard_queries,
        "runbooks": [query for queries in runbook_queries.values() for query in queries],
    }
    found: list[str] = by_kind[request.param]
    assert len(found) > 20
    return found


@pytest.fixture
def known(told: dict[str, set[str]], every_rule: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Series by name, with the labels that there are beside the target's."""
    recorded = {
        rule["record"]: labels_of(rule["expr"]) | set(rule.get("labels", ())) for rule in every_rule if "record" in rule
    }
    return {**told, **FOREIGN, **recorded}


def labels_of(expression: str) -> set[str]:
    """Returns the labels by which an expression groups."""
    return {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")} - TARGET


def test_every_series_is_told(
    asked: list[str], known: dict[str, set[str]], selectors: Callable[[str], list[tuple[str, dict[str, str]]]]
) -> None:
    for query in asked:
        for name, matchers in selectors(query):
            assert name in known, query
            assert set(matchers) <= known[name] | TARGET, query


def test_no_series_is_asked_for_without_a_selector(asked: list[str]) -> None:
    for query in asked:
        bare = re.sub(r"\{[^}]*\}", "{}", query)
        assert not re.findall(r"\b(?:lapis|process|kube|keda|certmanager)_\w+\b(?!\{)", bare), query


def test_labels_to_group_by_are_there(
    asked: list[str], known: dict[str, set[str]], selectors: Callable[[str], list[tuple[str, dict[str, str]]]]
) -> None:
    for query in asked:
        there = TARGET.union(*(known[name] for name, _ in selectors(query)))
        for group in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= there, query


def test_values_asked_for_can_be(
    asked: list[str], selectors: Callable[[str], list[tuple[str, dict[str, str]]]]
) -> None:
    for label, value in matched(asked, selectors):
        if label in VALUES:
            assert set(value.split("|")) <= VALUES[label], (label, value)


def test_every_method_is_a_translation_or_administration(every_rule: list[dict[str, Any]]) -> None:
    methods = {
        part
        for rule in every_rule
        for found in re.findall(r'method=~"([^"]*)"', rule["expr"])
        for part in found.split("|")
    }
    assert methods | ADMINISTRATION == VALUES["method"]
    assert not methods & ADMINISTRATION


def matched(
    asked: list[str], selectors: Callable[[str], list[tuple[str, dict[str, str]]]]
) -> Iterator[tuple[str, str]]:
    for query in asked:
        for _, matchers in selectors(query):
            yield from matchers.items()
