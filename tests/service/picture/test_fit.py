from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.picture.fit import Fit, Resizing, fit, restore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

RESIZING = get_args(Resizing)
SIDES = st.integers(1, 120)
PICTURES = st.tuples(SIDES, SIDES, st.sampled_from([1, 2, 3, 4, 7])).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 255), fill=st.just(128))
)


@given(PICTURES, SIDES, SIDES, st.sampled_from(RESIZING))
def test_fitted_picture_has_exactly_the_models_size(picture: Pixels, height: int, width: int, how: Resizing) -> None:
    fitted, _ = fit(picture, height, width, how)
    assert fitted.shape == (height, width, picture.shape[2])
    assert fitted.dtype == np.uint8


@given(PICTURES, SIDES, SIDES, st.sampled_from([Fit.STRETCH, Fit.PAD]))
def test_restored_picture_has_exactly_the_size_that_was_sent(
    picture: Pixels, height: int, width: int, how: Resizing
) -> None:
    assert restore(*fit(picture, height, width, how)).shape == picture.shape


@given(PICTURES, SIDES, SIDES)
def test_cropped_picture_is_restored_to_the_part_that_was_kept(picture: Pixels, height: int, width: int) -> None:
    fitted, placement = fit(picture, height, width, Fit.CROP)
    kept = restore(fitted, placement).shape
    assert kept == (placement.source.height, placement.source.width, picture.shape[2])
    assert kept[0] == picture.shape[0] or kept[1] == picture.shape[1]
    assert abs(kept[0] * width - kept[1] * height) <= max(width, height)  # the aspect ratio, but for less than a pixel


@given(st.tuples(SIDES, SIDES), SIDES, SIDES, st.integers(0, 255), st.sampled_from(RESIZING))
def test_plain_colour_stays_plain(size: tuple[int, int], height: int, width: int, level: int, how: Resizing) -> None:
    fitted, placement = fit(np.full((*size, 3), level, np.uint8), height, width, how)
    assert np.array_equal(placement.target.cut(fitted), np.full_like(placement.target.cut(fitted), level))
    assert np.array_equal(np.unique(restore(fitted, placement)), [level])


@given(SIDES, SIDES, st.sampled_from(RESIZING))
def test_picture_of_the_models_size_is_left_alone(height: int, width: int, how: Resizing) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    fitted, placement = fit(picture, height, width, how)
    assert np.array_equal(fitted, picture)
    assert np.array_equal(restore(fitted, placement), picture)


@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1)])
@pytest.mark.parametrize("how", RESIZING)
def test_extreme_aspect_ratios_are_fitted_and_restored(height: int, width: int, how: Resizing) -> None:
    fitted, placement = fit(np.zeros((height, width, 3), np.uint8), 256, 256, how)
    assert fitted.shape == (256, 256, 3)
    assert restore(fitted, placement).shape == ((1, 1, 3) if how is Fit.CROP else (height, width, 3))


@pytest.mark.parametrize(
    ("height", "width", "margins"), [(50, 100, (64, 64, 0, 0)), (100, 50, (0, 0, 64, 64)), (100, 51, (0, 0, 62, 63))]
)
def test_padding_is_white_and_the_same_on_both_sides(height: int, width: int, margins: tuple[int, ...]) -> None:
    fitted, placement = fit(np.zeros((height, width, 3), np.uint8), 256, 256, Fit.PAD)
    box = placement.target
    assert (box.top, 256 - box.top - box.height, box.left, 256 - box.left - box.width) == margins
    assert not box.cut(fitted).any()
    assert (fitted == 255).sum() == fitted.size - box.height * box.width * 3


def test_crop_cuts_off_the_same_on_both_sides() -> None:
    picture = np.zeros((40, 100, 1), np.uint8)
    picture[:, 30:70] = 200
    fitted, placement = fit(picture, 80, 80, Fit.CROP)
    assert (placement.source.left, placement.source.width) == (30, 40)
    assert np.array_equal(fitted, np.full((80, 80, 1), 200))


@pytest.mark.parametrize("size", [16, 37, 64, 150, 256, 301])
@pytest.mark.parametrize("how", RESIZING)
def test_resizing_does_not_shift_the_picture(size: int, how: Resizing) -> None:
    """What is symmetric stays so, which half a pixel's shift would break."""
    y, x = np.mgrid[-1:1:101j, -1:1:101j]
    symmetric = np.rint(255 * np.exp(-3 * (x**2 + y**2)))[..., np.newaxis].astype(np.uint8)
    fitted = fit(symmetric, size, size, how)[0].astype(int)
    assert np.abs(fitted - fitted[::-1]).max() <= 1
    assert np.abs(fitted - fitted[:, ::-1]).max() <= 1


STRIPES = np.tile(np.array([240, 0, 0, 0], np.uint8), (64, 16))[..., np.newaxis]


def test_shrinking_averages_all_pixels() -> None:
    assert np.array_equal(fit(STRIPES, 16, 16, Fit.STRETCH)[0], np.full((16, 16, 1), 60))


def test_shrinking_one_side_and_growing_the_other_averages_too() -> None:
    assert np.array_equal(fit(STRIPES, 128, 16, Fit.STRETCH)[0], np.full((128, 16, 1), 60))


@pytest.mark.parametrize("how", [Fit.STRETCH, Fit.PAD])
def test_smooth_picture_survives_the_way_there_and_back(how: Resizing) -> None:
    y, x = np.mgrid[0:100, 0:160]
    picture = np.stack([x, y * 2, 255 - x], axis=-1).astype(np.uint8)
    back = restore(*fit(picture, 256, 256, how))
    assert np.abs(back.astype(int) - picture).max() <= 3


@pytest.mark.parametrize("how", [Fit.STRETCH, Fit.PAD])
def test_answer_of_another_size_than_the_models_input_is_restored_in_place(how: Resizing) -> None:
    picture = np.full((30, 60, 3), 40, np.uint8)
    fitted, placement = fit(picture, 64, 64, how)
    for factor in (0.5, 2):
        answer, _ = fit(fitted, round(64 * factor), round(64 * factor), Fit.STRETCH)
        assert np.array_equal(restore(answer, placement)[2:-2], picture[2:-2])
