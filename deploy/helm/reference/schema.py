"""Makes values.schema.json: types out of values.yaml, bounds out of bounds.yaml, settings out of the service."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from service.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.helm.reference.values import Value

HERE = Path(__file__).parent
OWNED = re.compile(r"^(\w+): (.+)$", re.MULTILINE)
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}

# `--set` knows no numbers but whole ones: 0.6 arrives as a word.
SPELLED = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}

Schema = dict[str, Any]


class BoundsError(ValueError):
    """Says what bounds.yaml bounds that is no value."""


def schema(values: Sequence[Value], settings_template: str) -> Schema:
    """Returns the schema, in the draft that both Helm 3 and Helm 4 understand."""
    bounds = yaml.safe_load((HERE / "bounds.yaml").read_text())
    if unknown := bounds["values"].keys() - {value.name for value in values}:
        raise BoundsError(f"bounds.yaml: {', '.join(sorted(unknown))}: no such values")
    whole = _group([(value.path, _leaf(value, bounds["values"].get(value.name, {}))) for value in values])
    whole["properties"]["settings"] |= _settings(settings_template)
    for copy, original in bounds["copies"].items():
        _put(whole, copy.split("."), _optional(_at(whole, original.split("."))))
    whole["properties"] |= bounds["parents"]
    _let_be_spelled(whole)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Lapis chart",
        **whole,
        "definitions": bounds["definitions"],
    }


def text(values: Sequence[Value], settings_template: str) -> str:
    """Returns the schema as it is written."""
    return json.dumps(schema(values, settings_template), indent=2, ensure_ascii=False) + "\n"


def _group(entries: Sequence[tuple[tuple[str, ...], Schema]]) -> Schema:
    """Nests what lies below the same name; what has a value by itself cannot be taken away with a null."""
    properties: dict[str, Schema] = {}
    for name in dict.fromkeys(path[0] for path, _ in entries):
        below = [(path[1:], leaf) for path, leaf in entries if path[0] == name]
        properties[name] = below[0][1] if below[0][0] == () else _group(below)
    needed = [name for name, part in properties.items() if "default" not in part or part["default"] not in ("", [], {})]
    required = {"required": needed} if needed else {}
    return {"type": "object", "additionalProperties": False, **required, "properties": properties}


def _leaf(value: Value, bounds: Schema) -> Schema:
    typed = {} if bounds.keys() & {"type", "$ref", "anyOf"} else {"type": TYPES[type(value.default)]}
    told = {"description": value.description.replace("`", ""), "default": value.default}
    if "$ref" not in bounds:
        return told | typed | bounds
    return told | {"allOf": [bounds]}  # beside a bare $ref this draft would see nothing else


def _let_be_spelled(part: Any) -> None:  # noqa: ANN401 (whatever stands in a schema)
    """Takes a number as a word, too, wherever one may have a fraction and no words are told already."""
    if isinstance(part, list):
        for inner in part:
            _let_be_spelled(inner)
    elif isinstance(part, dict):
        choices = part.get("anyOf", [])
        if part.get("type") == "number":
            told = {key: part.pop(key) for key in list(part) if key not in {"description", "default"}}
            part["anyOf"] = [told, SPELLED]
        elif any(choice.get("type") == "number" for choice in choices):
            part["anyOf"] = choices if any("pattern" in choice for choice in choices) else [*choices, SPELLED]
        else:
            for inner in part.values():
                _let_be_spelled(inner)


def _settings(template: str) -> Schema:
    """The service's settings; those that the chart sets, and misspellings, are left to templates, which say more."""
    owned = _owned(template)
    properties: dict[str, Schema] = {}
    for name, field in ServeSettings.model_json_schema()["properties"].items():
        if name in owned:
            properties[name] = {"description": f"Not to be set here: {owned[name]} sets it."}
        elif not name.startswith("probe"):  # that is another task of the command
            properties[name] = {key: part for key, part in field.items() if key not in {"title", "format"}}
    return {"additionalProperties": False, "patternProperties": {"-": {}}, "properties": properties}


def _owned(template: str) -> dict[str, str]:
    listed = template.partition('define "lapis.settings.owned"')[2].partition("{{- end -}}")[0]
    return dict(OWNED.findall(listed))


def _optional(part: Schema) -> Schema:
    """A copy for what may differ: nothing in it is needed, and nothing is there by itself."""
    copy = {key: inner for key, inner in part.items() if key not in {"default", "required"}}
    if "properties" in copy:
        copy["properties"] = {name: _optional(inner) for name, inner in copy["properties"].items()}
    return copy


def _at(whole: Schema, path: Sequence[str]) -> Schema:
    for name in path:
        whole = whole["properties"][name]
    return whole


def _put(whole: Schema, path: Sequence[str], part: Mapping[str, Any]) -> None:
    there = _at(whole, path)
    there |= {key: inner for key, inner in part.items() if key != "description"}
