from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from export.errors import PicturesError
from export.metadata import PictureSpec
from export.proof import Pictures
from export.validation import measure

SPEC = PictureSpec.of(32, 32, 3)


@pytest.fixture
def pairs() -> tuple[Pictures, Pictures]:
    random = np.random.default_rng(0)
    inputs = random.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    targets = np.clip(inputs + random.integers(-20, 20, inputs.shape), 0, 255).astype(np.uint8)
    return inputs, targets


def as_it_is(pictures: Pictures, _: object) -> Pictures:
    return pictures


def test_figures_are_means_over_all_pictures(pairs: tuple[Pictures, Pictures]) -> None:
    inputs, targets = pairs
    figures = measure(as_it_is, inputs, targets, SPEC)
    assert figures.l1 == pytest.approx(np.abs(inputs / 255 - targets / 255).mean(), abs=1e-6)
    assert figures.psnr == pytest.approx(peak_signal_noise_ratio(targets, inputs), abs=1e-3)
    assert 0.9 < figures.ssim < 1
    assert figures.pairs == 3


def test_sixteen_bits_are_measured_on_the_same_scale(pairs: tuple[Pictures, Pictures]) -> None:
    plain = measure(as_it_is, *pairs, SPEC)
    deep = measure(
        as_it_is, *(side.astype(np.uint16) * 257 for side in pairs), PictureSpec.of(32, 32, 3, dtype="uint16")
    )
    assert deep.l1 == pytest.approx(plain.l1, abs=1e-6)
    assert deep.ssim == pytest.approx(plain.ssim, abs=1e-5)


def test_perfect_answers_have_an_infinite_psnr(pairs: tuple[Pictures, Pictures]) -> None:
    figures = measure(as_it_is, pairs[0], pairs[0], SPEC)
    assert (figures.l1, figures.psnr, figures.ssim) == (0, None, 1)


def test_each_picture_goes_alone_with_its_seed(pairs: tuple[Pictures, Pictures]) -> None:
    seen = []
    measure(lambda rows, seeds: seen.append((len(rows), seeds.tolist())) or rows, *pairs, SPEC, np.array([5, 6, 7]))
    assert seen == [(1, [5]), (1, [6]), (1, [7])]


def test_answers_of_another_shape_are_told(pairs: tuple[Pictures, Pictures]) -> None:
    with pytest.raises(PicturesError, match=r"answers are \[32, 32, 1\], the targets \[32, 32, 3\]"):
        measure(lambda rows, _: rows[..., :1], *pairs, SPEC)


def test_pictures_too_small_for_ssim_are_told() -> None:
    tiny = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(PicturesError, match="8 x 8 pixels are too few for figures"):
        measure(as_it_is, tiny, tiny, PictureSpec.of(8, 8, 3))
