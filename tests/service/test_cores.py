from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from service import cores
from service.cores import available_cores

if TYPE_CHECKING:
    from pathlib import Path

ALL = len(os.sched_getaffinity(0))
QUOTAS = [
    ("100000", "100000", 1),
    ("50000", "100000", 1),
    ("150000", "100000", 1),
    ("99900000", "100000", ALL),
    ("nonsense", "100000", ALL),
    ("100000", "0", ALL),
]


@pytest.mark.parametrize(("allowed", "period", "expected"), [*QUOTAS, ("max", "100000", ALL)])
def test_quota_of_the_container_bounds_the_cores(tmp_path: Path, allowed: str, period: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{allowed} {period}\n")
    assert available_cores(tmp_path) == expected


@pytest.mark.parametrize(("allowed", "period", "expected"), [*QUOTAS, ("-1", "100000", ALL)])
def test_quota_is_found_in_control_groups_of_the_first_version(
    tmp_path: Path, allowed: str, period: str, expected: int
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{allowed}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text(f"{period}\n")
    assert available_cores(tmp_path) == expected


def test_without_a_quota_all_cores_are_there(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "missing") == ALL


@pytest.mark.parametrize(
    ("there", "processes", "shares"), [(5, 2, [3, 2]), (4, 2, [2, 2]), (2, 3, [1, 1, 1]), (7, 1, [7])]
)
def test_processes_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, processes: int, shares: list[int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(there)))
    monkeypatch.setattr(cores, "_share", (0, 1))
    taken = []
    for index in range(processes):
        cores.share(index, processes)
        taken.append(available_cores(tmp_path))
    assert taken == shares
