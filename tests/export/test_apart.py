from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from export.apart import among


def test_figures_are_those_of_all_pictures_together() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (2, 3, 8, 9, 3), dtype=np.uint8)
    apart = among(a, b)
    distance = np.abs(a.astype(int) - b.astype(int))
    assert apart.pictures == 3
    assert apart.largest == distance.max()
    assert apart.mean == pytest.approx(distance.mean())
    assert apart.psnr == pytest.approx(peak_signal_noise_ratio(a, b), abs=0.006)


def test_sixteen_bits_are_told_in_levels_of_255() -> None:
    a = np.zeros((1, 2, 2, 1), np.uint16)
    b = a.copy()
    b[0, 0, 0, 0] = 65535
    assert among(a, b).largest == 255
    b[0, 0, 0, 0] = 257 // 2
    assert among(b, a).largest == pytest.approx(0.498, abs=1e-3)


def test_equal_pictures_have_no_finite_psnr() -> None:
    a = np.full((1, 2, 2, 1), 7, np.uint8)
    assert (among(a, a).largest, among(a, a).psnr) == (0, None)
