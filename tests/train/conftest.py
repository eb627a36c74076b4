from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from train.data.pictures import write_png

SIZE = 128


def shapes(rng: np.random.Generator, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A frame drawn in black on white, and the same frame filled with a colour."""
    top, left = rng.integers(8, size // 2, 2)
    height, width = rng.integers(16, size // 2 - 8, 2)
    A = np.full((size, size, 3), 255, np.uint8)
    A[top : top + height, left : left + width] = 0
    A[top + 2 : top + height - 2, left + 2 : left + width - 2] = 255
    B = A.copy()
    B[top + 2 : top + height - 2, left + 2 : left + width - 2] = (40, 160, 220)
    return A, B


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LAPIS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def side_by_side(tmp_path: Path) -> Path:
    """A data set with the splits train (6 pairs) and val (2 pairs), A|B in one picture."""
    folder = tmp_path / "pairs"
    rng = np.random.default_rng(1)
    for split, count in (("train", 6), ("val", 2)):
        (folder / split).mkdir(parents=True)
        for index in range(count):
            write_png(folder / split / f"{index}.png", np.concatenate(shapes(rng), axis=1))
    return folder


@pytest.fixture
def two_folders(tmp_path: Path) -> Path:
    """A data set without splits: A/ and B/ with 4 pairs."""
    folder = tmp_path / "two"
    rng = np.random.default_rng(2)
    for name in ("A", "B"):
        (folder / name).mkdir(parents=True)
    for index in range(4):
        for name, picture in zip("AB", shapes(rng), strict=True):
            write_png(folder / name / f"{index}.png", picture)
    return folder


@pytest.fixture
def small(side_by_side: Path, tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Settings of a run that takes a second: unet_128 with 4 filters."""

    def settings(**changes: object) -> dict[str, object]:
        return {
            "data": side_by_side,
            "output": tmp_path / "run",
            "netG": "unet_128",
            "ngf": 4,
            "ndf": 4,
            "load_size": SIZE + 8,
            "crop_size": SIZE,
            "n_epochs": 1,
            "n_epochs_decay": 1,
            "num_workers": 0,
            "precision": "fp32",
            "device": "cpu",
        } | changes

    return settings
