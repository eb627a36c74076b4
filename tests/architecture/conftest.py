"""The project's own files, as its rules see them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "train": ROOT / "train",
    "export": ROOT / "export",
    "service": ROOT / "service",
    "lapis": ROOT / "protos",
    "bench": ROOT / "bench",
    "deploy": ROOT / "deploy",
    "tests": ROOT / "tests",
}


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sources() -> dict[str, list[Path]]:
    """The Python files that people wrote, by room."""
    return {
        room: sorted(path for path in folder.rglob("*.py") if not path.stem.endswith(("_pb2", "_pb2_grpc")))
        for room, folder in FOLDERS.items()
    }
