from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidPicture
from service.picture.fit import Fit
from service.picture.size import described, target_size


@dataclass(frozen=True)
class Shape:
    height: int
    width: int
    multiple: int = 0
    smallest: int = 0

    def takes(self, height: int, width: int) -> bool:
        if not self.multiple:
            return (height, width) == (self.height, self.width)
        return not (height % self.multiple or width % self.multiple) and min(height, width) >= self.smallest


ONE_SIZE = Shape(128, 256)
SIDES = st.integers(1, 3000)
MULTIPLES = st.integers(1, 300)
FREE = st.builds(
    lambda multiple, smallest: Shape(multiple * smallest, multiple * smallest, multiple, multiple * smallest),
    MULTIPLES,
    st.integers(1, 4),
)


@given(SIDES, SIDES, st.sampled_from([Fit.STRETCH, Fit.PAD, Fit.CROP, Fit.TILE]))
def test_model_of_one_size_has_one_size(height: int, width: int, how: Fit) -> None:
    assert target_size(how, height, width, ONE_SIZE) == (128, 256)


@given(SIDES, SIDES, FREE, st.sampled_from([Fit.STRETCH, Fit.PAD, Fit.CROP, Fit.TILE]))
def test_every_picture_is_brought_to_a_size_that_the_model_takes(
    height: int, width: int, shape: Shape, how: Fit
) -> None:
    assert shape.takes(*target_size(how, height, width, shape))


@given(SIDES, SIDES, FREE)
def test_size_that_the_model_takes_is_kept(height: int, width: int, shape: Shape) -> None:
    size = target_size(Fit.STRETCH, height, width, shape)
    for how in (Fit.STRETCH, Fit.PAD, Fit.CROP, Fit.NONE):
        assert target_size(how, *size, shape) == size


@given(SIDES, FREE)
def test_sides_go_to_the_nearest_the_next_larger_or_the_next_smaller_multiple(side: int, shape: Shape) -> None:
    taken = list(range(shape.smallest, 4000, shape.multiple))
    brought = {how: target_size(how, side, side, shape)[0] for how in (Fit.STRETCH, Fit.PAD, Fit.CROP)}
    assert brought[Fit.PAD] == min(one for one in taken if one >= side)
    assert brought[Fit.CROP] == max([one for one in taken if one <= side], default=shape.smallest)
    assert abs(brought[Fit.STRETCH] - side) == min(abs(one - side) for one in taken)


def test_tiles_have_the_size_that_the_model_was_made_for() -> None:
    assert target_size(Fit.TILE, 3000, 40, Shape(512, 768, 256, 256)) == (512, 768)


@given(SIDES, SIDES, FREE)
def test_fit_none_takes_what_the_model_takes_and_nothing_else(height: int, width: int, shape: Shape) -> None:
    if shape.takes(height, width):
        assert target_size(Fit.NONE, height, width, shape) == (height, width)
    else:
        with pytest.raises(InvalidPicture, match=f"is {width:,} x {height:,} pixels; the model takes"):
            target_size(Fit.NONE, height, width, shape)


@pytest.mark.parametrize(
    ("size", "shape", "words"),
    [
        ((200, 300), Shape(256, 256, 256, 256), "from 256 on, the nearest being 256 x 256 and 512 x 256: send"),
        ((700, 300), Shape(256, 256, 256, 256), "from 256 on, the nearest being 256 x 512 and 512 x 768: send"),
        ((5, 5), Shape(256, 256, 32, 64), "any multiple of 32 pixels from 64 on, the nearest being 64 x 64: send"),
        ((5, 5), ONE_SIZE, "the model takes 256 x 128 pixels alone: send"),
    ],
)
def test_refusal_names_the_sizes_that_the_model_takes_and_the_nearest(
    size: tuple[int, int], shape: Shape, words: str
) -> None:
    with pytest.raises(InvalidPicture) as refused:
        target_size(Fit.NONE, *size, shape)
    assert words in str(refused.value)
    assert described(shape) in str(refused.value)


def test_smallest_that_is_no_multiple_itself_stands_for_the_next_one() -> None:
    shape = Shape(96, 96, 32, 70)
    assert target_size(Fit.CROP, 10, 97, shape) == (96, 96)
    with pytest.raises(InvalidPicture, match="from 96 on"):
        target_size(Fit.NONE, 64, 96, shape)
