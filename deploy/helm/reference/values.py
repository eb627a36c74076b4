"""Reads values.yaml as people do: groups, and values with what is said of them in the `# --` comment above each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK = "# --"


class ValuesError(ValueError):
    """Says which value is not documented."""


@dataclass(frozen=True)
class Value:
    """A value: what stands in values.yaml, and what is said of it."""

    path: tuple[str, ...]
    default: Any
    description: str

    @property
    def name(self) -> str:
        """As it is written after `--set`."""
        return ".".join(self.path)


def read(path: Path) -> list[Value]:
    """Returns all values in the file's order."""
    text = path.read_text()
    return list(_values((), yaml.compose(text, yaml.SafeLoader), text.splitlines()))


def _values(path: tuple[str, ...], node: yaml.Node | None, lines: list[str]) -> Iterator[Value]:
    """Goes down until a comment says what something is; what is below that belongs to it."""
    if not isinstance(node, yaml.MappingNode):
        raise ValuesError(f"{'.'.join(path)}: has no `{MARK}` comment above it")
    for key, value in node.value:
        here = (*path, key.value)
        if description := _comment_above(key.start_mark.line, lines):
            yield Value(here, yaml.safe_load(yaml.serialize(value)), description)
        else:
            yield from _values(here, value, lines)


def _comment_above(line: int, lines: list[str]) -> str:
    """Returns the comment that ends right above a line, from its mark on; nothing where it has no mark."""
    comment: list[str] = []
    for above in reversed(lines[:line]):
        if not above.lstrip().startswith("#"):
            return ""
        if above.lstrip().startswith(MARK):
            return " ".join([above.lstrip().removeprefix(MARK).strip(), *comment])
        comment.insert(0, above.lstrip("# ").rstrip())
    return ""
