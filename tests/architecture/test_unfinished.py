"""What is in the tree is finished: what is not, is not in the tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MARKS = re.compile(rb"\b(TODO|FIXME|XXX|HACK)\b")
NOT_OURS = {".git", ".venv", ".hypothesis", "node_modules", "build", "dist", "work", "demo", "__pycache__"}


def files(folder: Path) -> Iterator[Path]:
    """Yields what people wrote under the folder."""
    for path in sorted(folder.iterdir()):
        if path.name in NOT_OURS or path.name.endswith(("_cache", ".egg-info")):
            continue
        if path.is_dir():
            yield from files(path)
        else:
            yield path


def test_no_file_says_that_something_is_left_to_do(root: Path) -> None:
    texts = {path: content for path in files(root) if b"\0" not in (content := path.read_bytes())}
    assert root / "service/errors.py" in texts
    marked = [path for path, content in texts.items() if MARKS.search(content) and path != Path(__file__)]
    assert [str(path.relative_to(root)) for path in marked] == []


def test_no_function_is_a_stub(sources: dict[str, list[Path]], root: Path) -> None:
    stubs = [
        f"{path.relative_to(root)}:{node.lineno}"
        for room in ("train", "export", "service", "lapis")
        for path in sources[room]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == NotImplementedError.__name__
    ]
    assert stubs == []
