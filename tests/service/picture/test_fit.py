from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.picture.fit import Fit, Resizing, fit, restore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.unsignedinteger[Any]]

RESIZING: list[Resizing] = [Fit.STRETCH, Fit.PAD, Fit.CROP]
SIDES = st.integers(1, 120)
SAMPLES = st.sampled_from([np.uint8, np.uint16])
SHAPES = st.tuples(SIDES, SIDES, st.sampled_from([1, 2, 3, 4, 7]))
PICTURES = st.tuples(SAMPLES, SHAPES).flatmap(lambda kind: arrays(*kind, fill=st.just(128)))


@given(PICTURES, SIDES, SIDES, st.sampled_from(RESIZING))
def test_fitted_picture_has_exactly_the_models_size(picture: Pixels, height: int, width: int, how: Resizing) -> None:
    fitted, _ = fit(picture, height, width, how)
    assert fitted.shape == (height, width, picture.shape[2])
    assert fitted.dtype == picture.dtype


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


@given(SHAPES, SAMPLES, st.floats(0, 1), st.tuples(SIDES, SIDES), st.sampled_from(RESIZING))
def test_plain_colour_stays_plain(
    shape: tuple[int, ...], dtype: type[np.uint8 | np.uint16], share: float, size: tuple[int, int], how: Resizing
) -> None:
    level = int(share * np.iinfo(dtype).max)
    fitted, placement = fit(np.full(shape, level, dtype), *size, how)
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
    deep, _ = fit(np.zeros((height, width, 3), np.uint16), 256, 256, Fit.PAD)
    assert np.array_equal(deep == 65535, fitted == 255)


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


@given(PICTURES, SIDES, SIDES)
def test_padding_at_scale_leaves_what_fits_as_it_is(picture: Pixels, more_rows: int, more_columns: int) -> None:
    height, width = picture.shape[0] + more_rows - 1, picture.shape[1] + more_columns - 1
    fitted, placement = fit(picture, height, width, Fit.PAD, at_scale=True)
    assert fitted.shape == (height, width, picture.shape[2])
    assert np.array_equal(placement.target.cut(fitted), picture)
    assert np.array_equal(restore(fitted, placement), picture)
    assert (placement.target.top, placement.target.left) == ((more_rows - 1) // 2, (more_columns - 1) // 2)


@given(PICTURES, st.data())
def test_cropping_at_scale_keeps_the_middle_as_it_is(picture: Pixels, data: st.DataObject) -> None:
    height, width = (data.draw(st.integers(1, side)) for side in picture.shape[:2])
    fitted, placement = fit(picture, height, width, Fit.CROP, at_scale=True)
    assert np.array_equal(fitted, placement.source.cut(picture))
    assert abs(2 * placement.source.top + height - picture.shape[0]) <= 1
    assert abs(2 * placement.source.left + width - picture.shape[1]) <= 1
    assert np.array_equal(restore(fitted, placement), fitted)


def test_picture_too_small_to_be_cropped_at_scale_is_enlarged_first() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 300, 3), np.uint8)
    fitted, _ = fit(picture, 64, 256, Fit.CROP, at_scale=True)
    assert np.array_equal(fitted, fit(picture, 64, 256, Fit.CROP)[0])


def test_fit_none_leaves_the_picture_alone_and_takes_no_other_size() -> None:
    picture = np.random.default_rng(0).integers(0, 65536, (30, 40, 3), np.uint16)
    fitted, placement = fit(picture, 30, 40, Fit.NONE)
    assert np.array_equal(fitted, picture)
    assert np.array_equal(restore(fitted, placement), picture)
    with pytest.raises(ValueError, match="30 x 40 is not 40 x 30"):
        fit(picture, 40, 30, Fit.NONE)


@pytest.mark.parametrize("how", RESIZING)
def test_sixteen_bits_are_resized_as_eight_are(how: Resizing) -> None:
    y, x = np.mgrid[0:70, 0:110]
    picture = np.stack([x, y * 2, 255 - x], axis=-1).astype(np.uint8)
    for size in ((37, 41), (256, 256), (50, 200)):
        shallow, deep = fit(picture, *size, how)[0], fit(np.uint16(257) * picture, *size, how)[0]
        assert np.abs(deep / 257 - shallow).max() <= 1
