"""The programs with which what is in `deploy/` is tested: `make chart` or `python deploy/tools.py` installs them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tools() -> ModuleType:
    """`deploy/tools.py`: `tools.path("promtool")` is where a program is, or None."""
    spec = importlib.util.spec_from_file_location("deploy_tools", ROOT / "deploy/tools.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tool(tools: ModuleType) -> Callable[[str], str]:
    """Returns the path of a program of `deploy/tools.py` by its name; skips the test that needs it where it is not."""

    def find(name: str) -> str:
        if (found := tools.path(name)) is None:
            pytest.skip(f"{name} is not installed: python deploy/tools.py")
        return str(found)

    return find
