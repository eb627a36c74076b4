"""The schema refuses what is misspelt or of another type, at every level, and Helm tells where."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.deploy.chart.conftest import CHART
from tests.deploy.chart.schema import SCHEMA, VALUES, Path, dotted, parts, types

# Maps whose keys are anybody's: labels, annotations, and the like.
MAPS = {
    "canary.header",
    "global",
    "ingress.annotations",
    "labels",
    "monitoring.dashboard.annotations",
    "monitoring.dashboard.labels",
    "monitoring.labels",
    "placement.nodeSelector",
    "pod.annotations",
    "pod.labels",
    "resources.limits",
    "resources.requests",
    "service.annotations",
    "serviceAccount.annotations",
}
# Kubernetes' own objects, which it checks itself; test_matrix.py holds them to its schemas.
KUBERNETES = {
    "extra.containers.0",
    "extra.env.0",
    "extra.envFrom.0",
    "extra.initContainers.0",
    "extra.objects.0",
    "extra.volumeMounts.0",
    "extra.volumes.0",
    "networkPolicy.callers.0.ipBlock",
    "networkPolicy.callers.0.namespaceSelector",
    "networkPolicy.callers.0.podSelector",
    "networkPolicy.egress.0.ports.0",
    "networkPolicy.egress.0.to.0.ipBlock",
    "networkPolicy.egress.0.to.0.namespaceSelector",
    "networkPolicy.egress.0.to.0.podSelector",
    "networkPolicy.scrapers.0.ipBlock",
    "networkPolicy.scrapers.0.namespaceSelector",
    "networkPolicy.scrapers.0.podSelector",
    "placement.affinity.nodeAffinity",
    "placement.affinity.podAffinity",
    "placement.affinity.podAntiAffinity",
}


def written(path: Path, value: object) -> Any:  # noqa: ANN401
    """Returns values in which a part is what is given."""
    for key in reversed(path):
        value = [value] if key == 0 else {str(key): value}
    return value


def together(several: list[Any]) -> Any:  # noqa: ANN401
    """Returns values laid over each other; of lists, the entries are one."""
    whole: Any = {}
    for values in several:
        whole = _merged(whole, values)
    return whole


def _merged(one: Any, other: Any) -> Any:  # noqa: ANN401
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            key: _merged(one[key], other[key]) if key in one and key in other else (one | other)[key]
            for key in one | other
        }
    if isinstance(one, list) and isinstance(other, list) and one and other:
        return [_merged(one[0], other[0])]
    return other


def refused_parts(told: str) -> set[str]:
    """Returns the paths that Helm's message names, in the words of version 4 or 3."""
    pointers = re.findall(r"at '/?([^']*)'", told)
    names = re.findall(r"^- (\S+): ", told, re.MULTILINE)
    return {pointer.replace("/", ".") for pointer in pointers} | {name.replace("(root)", "") for name in names}


# Settings that the chart makes of other values; templates refuse them, and say which.
OWNED = [name for name, part in SCHEMA["properties"]["settings"]["properties"].items() if not types(part)]
STRICT = [path for path, part in parts(SCHEMA) if part.get("additionalProperties") is False]


def test_only_maps_and_what_kubernetes_checks_take_any_key() -> None:
    free = {
        dotted(path)
        for path, part in parts(SCHEMA)
        if "object" in types(part) and part.get("additionalProperties") is not False
    }

    assert free == MAPS | KUBERNETES


@pytest.mark.parametrize("helm", ["4", "3"])
def test_unknown_keys_are_refused_at_every_level(refusal: Callable[..., str], helm: str) -> None:
    told = refusal(together([written((*path, "surprise"), 1) for path in STRICT]), helm=helm)

    complaints = re.findall(r"(?:at '/?([^']*)'|^- (\S+)): .*dditional propert.*surprise", told, re.MULTILINE)
    assert {(new or old).replace("/", ".").replace("(root)", "") for new, old in complaints} == set(map(dotted, STRICT))
    assert len(STRICT) > 30


WRONG = {
    "lists and maps": {"string": [], "number": [], "integer": [], "boolean": [], "array": {"a": 1}, "object": []},
    "words and numbers": {
        "string": 7,
        "number": "many",
        "integer": "many",
        "boolean": "yes",
        "array": "none",
        "object": "none",
    },
}


@pytest.mark.parametrize("helm", ["4", "3"])
@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_other_types_are_refused_everywhere(refusal: Callable[..., str], helm: str, kind: str, depth: int) -> None:
    """`depth` counts the lists around a part: what is in a list can't be wrong together with the list."""
    values = {path: wrong_of(kind, types(part)) for path, part in leaves() if path.count(0) == depth}

    told = refusal(together([written(path, value) for path, value in values.items()]), helm=helm)

    assert not {dotted(path) for path in values} - refused_parts(told)
    assert len(values) > (200, 30, 3)[depth]


@pytest.mark.parametrize("helm", ["4", "3"])
def test_groups_are_no_words(refusal: Callable[..., str], helm: str) -> None:
    groups = {path[0] for path, part in parts(SCHEMA) if len(path) == 1 and part.get("properties")}

    assert groups <= refused_parts(refusal(dict.fromkeys(map(str, groups), "none"), helm=helm))


def leaves() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Gives the parts that are no groups, but those that the schema leaves to templates."""
    for path, part in parts(SCHEMA):
        if types(part) and not part.get("properties"):
            yield path, part


def wrong_of(kind: str, allowed: set[str]) -> object:
    """Returns a value of another type; a boolean or a list where words and numbers, or objects, are allowed alike."""
    if "string" in allowed and len(allowed) > 1:
        return [] if kind == "lists and maps" else True
    return WRONG[kind][min(allowed)]


def test_every_value_is_in_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    for name in VALUES:
        at = values
        for key in name.split("."):
            at = at[key]
    assert set(values) == {name.split(".")[0] for name in VALUES}


def test_every_value_is_of_a_type() -> None:
    untyped = {dotted(path) for path, part in parts(SCHEMA) if not types(part)}

    assert untyped == {f"{group}.{name}" for group in ("settings", "canary.settings") for name in OWNED}


@pytest.mark.parametrize("name", OWNED)
def test_settings_that_other_values_set_are_refused_with_their_names(refusal: Callable[..., str], name: str) -> None:
    told = refusal({"settings": {name: "other"}})

    assert re.search(rf"settings\.{name}: is set by \S", told)


@pytest.mark.parametrize("helm", ["4", "3"])
def test_fractions_may_be_set_on_the_command_line(template: Callable[..., Any], helm: str) -> None:
    """Helm's `--set` takes 0.6 for a word."""
    given = ("busy.target=0.6", "queue.target=0.25", "kind=keda", "keda.prometheus=http://prometheus")
    more = [part for one in given for part in ("--set", f"autoscaling.{one}")]
    more += ["--set", "monitoring.rules.enabled=true,monitoring.rules.availability=0.99,settings.repository_poll=0.5"]
    ran = template({}, helm=helm, more=more)
    assert ran.returncode == 0, ran.stderr
    objects = {one["kind"]: one for one in yaml.safe_load_all(ran.stdout) if one}
    assert [one["metadata"]["threshold"] for one in objects["ScaledObject"]["spec"]["triggers"]] == ["0.6", "0.25"]
    rules = json.dumps(objects["PrometheusRule"])
    assert "14.4 * 0.01" in rules
    assert "> 0.25" in rules


@pytest.mark.parametrize("helm", ["4", "3"])
@pytest.mark.parametrize("empty", ["settings", "resources", "labels", "placement.nodeSelector", "ingress.annotations"])
def test_groups_may_be_left_empty(template: Callable[..., Any], empty: str, helm: str) -> None:
    """As in a file in which a key stands without a value."""
    more = ("--set", f"{empty}=null", "--set", "ingress.enabled=true,ingress.host=p.example.com")
    ran = template({}, helm=helm, more=more)
    assert ran.returncode == 0, ran.stderr
