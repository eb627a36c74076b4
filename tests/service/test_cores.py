from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from service.cores import available_cores

if TYPE_CHECKING:
    from pathlib import Path

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", ALL),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("150000 100000\n", 1),
        ("99900000 100000\n", ALL),
        ("nonsense", ALL),
    ],
)
def test_quota_of_the_container_bounds_the_cores(tmp_path: Path, content: str, cores: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(content)
    assert available_cores(quota) == cores


def test_without_a_quota_all_cores_are_there(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "missing") == ALL
