from __future__ import annotations

import os
import tracemalloc
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cache import OVERHEAD, AnswerCache
from service.picture.encode import Format
from service.picture.fit import Box, Fit
from service.translator import Timings, Translation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

BLANK = np.zeros((2, 3, 1), np.uint8)
ROOM = 32 * OVERHEAD


def key(number: int) -> bytes:
    return AnswerCache.key("digest", BLANK, number)


def filled(*sizes: int, max_bytes: int = ROOM) -> AnswerCache[str]:
    """A cache into which answers of so many bytes were put, called by their number."""
    cache: AnswerCache[str] = AnswerCache(max_bytes)
    for number, size in enumerate(sizes):
        cache.put(key(number), str(number), size)
    return cache


def kept(cache: AnswerCache[str], count: int) -> list[str | None]:
    return [cache.get(key(number)) for number in range(count)]


def test_answer_is_found_again_and_no_other() -> None:
    cache = filled(100)
    assert cache.get(key(0)) == "0"
    assert cache.get(key(1)) is None


def test_answers_not_used_for_longest_make_room_by_bytes() -> None:
    cache = filled(*[OVERHEAD] * 16)
    assert None not in kept(cache, 16)
    cache.get(key(0))
    for number in (16, 17):
        cache.put(key(number), str(number), OVERHEAD)
    assert kept(cache, 18) == ["0", None, None, *map(str, range(3, 18))]


def test_one_large_answer_takes_the_place_of_several_small_ones() -> None:
    cache = filled(*[0] * 32, 3 * OVERHEAD)
    assert kept(cache, 33) == [None] * 4 + [str(number) for number in range(4, 33)]


def test_answer_larger_than_its_share_is_not_kept_and_costs_no_other_its_place() -> None:
    share = ROOM // 8 - OVERHEAD
    assert kept(filled(0, share), 2) == ["0", "1"]
    assert kept(filled(*[0] * 32, share + 1), 33) == [*map(str, range(32)), None]


def test_answer_put_twice_counts_once() -> None:
    cache = filled(*[0] * 31)
    cache.put(key(0), "again", 0)
    cache.put(key(31), "31", 0)
    assert kept(cache, 2) == ["again", "1"]


def test_cache_too_small_for_any_answer_keeps_none() -> None:
    assert kept(filled(0, max_bytes=1), 1) == [None]


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_bound_holds_for_all_the_memory_that_answers_take(size: int) -> None:
    max_bytes = 3_000_000
    cache: AnswerCache[Translation] = AnswerCache(max_bytes)
    timings = np.random.default_rng(0).random(4)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(max_bytes // 500):
        data = os.urandom(size)
        made = Translation(data, 300 + number, 300 + number, 3, Timings(*map(float, timings), 300), tiles=300 + number)
        cache.put(os.urandom(32), made, len(data))
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.6 * max_bytes < after - before < max_bytes


class Tone(Enum):
    LIGHT = "light"


@dataclass(frozen=True)
class Crop:
    top: int
    left: int


TEXTS = st.text(max_size=3)
OPTIONS = st.lists(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | TEXTS
    | st.sampled_from([*Fit, *Format, Tone.LIGHT])
    | st.builds(Crop, st.integers(0, 1), st.integers(0, 1))
    | st.tuples(TEXTS, TEXTS),
    max_size=3,
)
PICTURES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: st.integers(0, 1).map(lambda level: np.full(shape, level, np.uint8))
)
INPUTS = st.tuples(TEXTS, PICTURES, OPTIONS)


@given(INPUTS, INPUTS)
def test_keys_are_the_same_for_the_same_inputs_only(
    one: tuple[str, Pixels, list[object]], other: tuple[str, Pixels, list[object]]
) -> None:
    same = (
        one[0] == other[0]
        and np.array_equal(one[1], other[1])
        and [(type(option), option) for option in one[2]] == [(type(option), option) for option in other[2]]
    )
    assert (AnswerCache.key(one[0], one[1], *one[2]) == AnswerCache.key(other[0], other[1], *other[2])) == same


@given(st.binary(min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_bytes_that_move_from_one_part_to_the_next_change_the_key(text: bytes, first: int, second: int) -> None:
    """The same bytes in a row, split differently between digest and option."""
    word = text.hex()
    splits = {(word[:at], word[at:]) for at in (min(first, len(word)), min(second, len(word)))}
    assert len({AnswerCache.key(digest, BLANK, option) for digest, option in splits}) == len(splits)


def test_shape_counts_where_the_bytes_are_the_same() -> None:
    shapes = [(2, 3, 1), (3, 2, 1), (1, 6, 1), (1, 2, 3), (6, 1, 1)]
    assert len({AnswerCache.key("", BLANK.reshape(shape)) for shape in shapes}) == len(shapes)


def test_what_pixels_are_stored_like_does_not_count() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    turned = np.asfortranarray(picture)
    view = np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.shape)
    assert len({AnswerCache.key("", pixels, Box(0, 0, 1, 1)) for pixels in (picture, turned, view)}) == 1


def test_key_has_256_bits() -> None:
    assert len(key(0)) == 32
