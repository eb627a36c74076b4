"""Functions and files that a reader can hold in mind."""

from __future__ import annotations

import ast
from itertools import chain
from pathlib import Path

LONGEST_FUNCTION = 60
LONGEST_FILE = 400


def test_no_function_is_too_long(sources: dict[str, list[Path]], root: Path) -> None:
    long = [
        f"{path.relative_to(root)}:{node.lineno} {node.name}"
        for path in chain(*sources.values())
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_no_file_is_too_long(sources: dict[str, list[Path]], root: Path) -> None:
    lengths = {path.relative_to(root): len(path.read_text().splitlines()) for path in chain(*sources.values())}
    assert [f"{path}: {length}" for path, length in lengths.items() if length > LONGEST_FILE] == []
