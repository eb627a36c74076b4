"""The chart's schema of values, part by part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.deploy.chart.conftest import CHART

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
Path = tuple[str | int, ...]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns a schema with what it refers to in it."""
    whole = {key: part for key, part in schema.items() if key not in {"allOf", "$ref"}}
    for part in schema.get("allOf", []):
        whole |= resolved(part)
    if "$ref" in schema:
        target = SCHEMA
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        whole |= resolved(target)
    return whole


def parts(schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Gives what the schema has a word for, at every level, with its path; 0 is an entry of a list."""
    schema = resolved(schema)
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, (*path, name))
    if "items" in schema:
        yield from parts(schema["items"], (*path, 0))


def types(schema: dict[str, Any]) -> set[str]:
    """Returns the JSON types that a part may have; none where the schema leaves it to templates."""
    named = schema.get("type", [])
    found = {named} if isinstance(named, str) else set(named)
    for part in schema.get("anyOf", []):
        found |= types(resolved(part))
    values = [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]
    return found | {"string" for value in values if isinstance(value, str)}


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


# Those of values.yaml, in its order; settings are one.
VALUES = [dotted(path) for path, part in parts(SCHEMA) if "default" in part and "settings" not in path[:-1]]
