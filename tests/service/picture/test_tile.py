from __future__ import annotations

import itertools
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.picture.tile import Blender, TilePlan, blend_bytes, cut, plan_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from service.picture.samples import Samples

    Pixels = NDArray[np.unsignedinteger[Any]]

SIZES = st.tuples(st.integers(1, 150), st.integers(1, 150))
TILES = st.tuples(st.integers(1, 48), st.integers(1, 48))
OVERLAPS = st.floats(0, 0.9)


def identity(tile: Pixels) -> Pixels:
    return tile


def enlarge(rows: int, columns: int) -> Callable[[Pixels], Pixels]:
    return lambda tile: tile.repeat(rows, 0).repeat(columns, 1)


def shrink(factor: int) -> Callable[[Pixels], Pixels]:
    """Averages, as an exported model would: rounded to the nearest."""

    def average(tile: Pixels) -> Pixels:
        height, width, channels = tile.shape
        blocks = tile.reshape(height // factor, factor, width // factor, factor, channels)
        return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)

    return average


def translate(picture: Pixels, plan: TilePlan, model: Callable[[Pixels], Pixels]) -> Pixels:
    answers = [model(cut(picture, plan, index)) for index in range(plan.count)]
    height, width, channels = answers[0].shape
    samples: Samples = "uint16" if answers[0].dtype == np.uint16 else "uint8"
    blender = Blender(plan, height / plan.rows.tile, width / plan.columns.tile, channels, samples)
    for answer in answers:
        blender.add(answer)
    return blender.result()


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)


@given(SIZES, TILES, OVERLAPS, st.sampled_from([1, 2, 3, 4, 7]))
def test_any_picture_comes_back_level_for_level_from_a_model_that_changes_nothing(
    size: tuple[int, int], tile: tuple[int, int], overlap: float, channels: int
) -> None:
    picture = noise(*size, channels)
    assert np.array_equal(translate(picture, plan_tiles(*size, *tile, overlap), identity), picture)


@given(SIZES, TILES, OVERLAPS)
def test_no_level_of_sixteen_bits_is_lost_in_blending(
    size: tuple[int, int], tile: tuple[int, int], overlap: float
) -> None:
    picture = np.random.default_rng(1).integers(0, 65536, (*size, 3), np.uint16)
    made = translate(picture, plan_tiles(*size, *tile, overlap), identity)
    assert made.dtype == np.uint16
    assert np.array_equal(made, picture)


@given(SIZES, TILES, st.integers(1, 3), st.integers(1, 3))
def test_any_picture_comes_back_level_for_level_from_a_model_that_repeats_pixels(
    size: tuple[int, int], tile: tuple[int, int], rows: int, columns: int
) -> None:
    picture, larger = noise(*size), enlarge(rows, columns)
    assert np.array_equal(translate(picture, plan_tiles(*size, *tile), larger), larger(picture))


@given(SIZES, st.sampled_from([(8, 1), (8, 12), (12, 9), (16, 4), (16, 15), (20, 50), (7, 3)]), st.integers(0, 255))
def test_plain_colour_stays_plain_and_the_size_is_rounded_to_the_nearest_at_any_scale(
    size: tuple[int, int], sides: tuple[int, int], level: int
) -> None:
    tile, answer = sides
    plan = plan_tiles(*size, tile, tile)
    made = translate(np.zeros((*size, 3), np.uint8), plan, lambda _: np.full((answer, answer, 3), level, np.uint8))
    assert made.shape == (*(max(1, int(side * answer / tile + 0.5)) for side in size), 3)
    assert np.array_equal(np.unique(made), [level])


@given(st.integers(33, 150), st.integers(33, 150))
def test_smooth_picture_stays_smooth_where_tiles_shrink_and_their_places_are_rounded(height: int, width: int) -> None:
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x, y, (x + y) // 2], axis=-1).astype(np.uint8)
    made = translate(picture, plan_tiles(height, width, 32, 32), shrink(4)).astype(int)
    assert np.abs(made[:, :, 0] - (np.arange(made.shape[1]) * 4 + 1.5)).max() <= 2.5  # half an answer's pixel, rounded
    assert np.diff(made[:, :, 0], axis=1).min() >= 1
    assert np.diff(made[:, :, 1], axis=0).min() >= 1


@given(SIZES, TILES, OVERLAPS)
def test_plan_covers_the_picture_with_evenly_spread_tiles_that_overlap_enough(
    size: tuple[int, int], tile: tuple[int, int], overlap: float
) -> None:
    plan = plan_tiles(*size, *tile, overlap)
    assert len(plan.boxes) == plan.count
    assert [(box.top, box.left) for box in plan.boxes] == list(itertools.product(plan.rows.starts, plan.columns.starts))
    for spread in (plan.rows, plan.columns):
        if spread.length < spread.tile:
            assert len(spread.starts) == 1
            continue
        assert (spread.starts[0], spread.starts[-1]) == (0, spread.length - spread.tile)
        steps = np.diff(spread.starts)
        most = max(1, spread.tile - int(np.ceil(spread.tile * overlap)))
        assert all(1 <= step <= most for step in steps)
        assert not steps.size or np.ptp(steps) <= 1
        assert len(steps) == np.ceil((spread.length - spread.tile) / most)  # no tile more than it takes


@given(st.integers(1, 40), st.integers(1, 40))
def test_picture_smaller_than_a_tile_is_filled_up_with_its_mirror_image(height: int, width: int) -> None:
    picture = noise(height, width)
    plan = plan_tiles(height, width, 40, 40)
    assert plan.count == 1
    top, left = (40 - height) // 2, (40 - width) // 2
    margins = (top, 40 - height - top), (left, 40 - width - left), (0, 0)
    assert np.array_equal(cut(picture, plan, 0), np.pad(picture, margins, mode="symmetric"))


def test_tile_of_the_pictures_size_is_the_picture() -> None:
    picture = noise(32, 32)
    plan = plan_tiles(32, 32, 32, 32)
    assert plan.count == 1
    assert np.array_equal(cut(picture, plan, 0), picture)


def test_tile_holds_nothing_of_the_picture_it_was_cut_from() -> None:
    tile = cut(noise(100, 100), plan_tiles(100, 100, 32, 32), 4)
    assert tile.flags.c_contiguous
    assert tile.base is None


@pytest.mark.parametrize("axis", [0, 1])
def test_answers_that_differ_meet_in_an_even_ramp_over_all_of_the_overlap(axis: int) -> None:
    """A step of 200 levels between neighbours becomes as many small ones; next to nothing is left of a tile's rim."""
    height, width = (104, 64) if axis == 0 else (64, 104)
    plan = plan_tiles(height, width, 64, 64, 3 / 8)
    assert plan.count == 2
    answers = iter([np.full((64, 64, 1), level, np.uint8) for level in (0, 200)])
    ramp = translate(np.zeros((height, width, 1), np.uint8), plan, lambda _: next(answers)).take(0, 1 - axis).ravel()
    assert not ramp[:40].any()
    assert (ramp[64:] == 200).all()
    assert ramp[[40, 63]].tolist() == [4, 196]
    assert np.diff(ramp[39:65].astype(int)).max() <= 9


def test_no_tile_counts_for_more_than_its_weight_where_four_meet() -> None:
    plan = plan_tiles(104, 104, 64, 64, 3 / 8)
    answers = iter([np.full((64, 64, 1), level, np.uint8) for level in (0, 100, 100, 200)])
    made = translate(np.zeros((104, 104, 1), np.uint8), plan, lambda _: next(answers))[:, :, 0].astype(int)
    assert np.abs(made - made.T).max() <= 1
    assert np.abs(made[40:64, 40:64] + made[40:64, 40:64][::-1, ::-1] - 200).max() <= 1
    assert np.abs(np.diff(made, axis=1)).max() <= 5


def test_blender_holds_the_result_and_one_row_of_tiles() -> None:
    height, width = 2048, 512
    plan = plan_tiles(height, width, 64, 64)
    answer = np.zeros((64, 64, 3), np.uint8)
    tracemalloc.start()
    blender = Blender(plan, 1, 1, 3)
    for _ in range(plan.count):
        blender.add(answer)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    band = 64 * width * 3 * 4
    assert blend_bytes(plan, 1, 1, 3) == height * width * 3 + band
    assert blend_bytes(plan, 1, 1, 3, "uint16") == 2 * height * width * 3 + band
    assert peak <= height * width * 3 + 2 * band
