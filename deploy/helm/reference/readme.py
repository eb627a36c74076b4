"""Makes the chart's README: what its template says, and a table of the values of each group."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.helm.reference.values import Value

TEMPLATE = Path(__file__).parent / "README.template.md"


def text(values: Sequence[Value], chart: Path) -> str:
    """Returns the README."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    tables = "\n\n".join(_section(title, list(group)) for title, group in groupby(values, _title))
    filled = TEMPLATE.read_text().replace("[[values]]", tables)
    for key in ("description", "version", "appVersion", "kubeVersion"):
        filled = filled.replace(f"[[{key}]]", about[key].removesuffix("-0"))
    return filled


def _title(value: Value) -> str:
    """Values that stand by themselves have a section of their own, but for the names at the top."""
    return "names and labels" if value.name in {"nameOverride", "fullnameOverride", "labels"} else value.path[0]


def _section(title: str, values: Iterable[Value]) -> str:
    rows = "\n".join(f"| `{value.name}` | `{_default(value)}` | {_cell(value.description)} |" for value in values)
    return f"### {title}\n\n| value | by itself | |\n|---|---|---|\n{rows}"


def _default(value: Value) -> str:
    return _cell(json.dumps(value.default, ensure_ascii=False))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
