from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from export.fingerprint import MOST_PIXELS, take
from export.metadata import Parity


def parity(largest: int) -> Parity:
    return Parity(pictures=1, max_difference=largest, mean_difference=0.0, provider="CPUExecutionProvider")


def picture(height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def read(encoded: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


def inverted(pictures: np.ndarray) -> np.ndarray:
    assert pictures.flags.c_contiguous
    return 255 - pictures


def test_small_model_s_picture_and_translation_are_kept_whole() -> None:
    given = picture(12, 20, 3)
    taken = take(inverted, given, parity(1))
    assert taken.every == 1
    np.testing.assert_array_equal(read(taken.input), given)
    np.testing.assert_array_equal(read(taken.translation), 255 - given)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_channels_that_no_colour_has_lie_one_below_the_other(channels: int) -> None:
    given = picture(5, 4, channels)
    planes = read(take(inverted, given, parity(1)).input).reshape(channels, 5, 4)
    np.testing.assert_array_equal(planes, given.transpose(2, 0, 1))


@pytest.mark.parametrize(("height", "width", "every"), [(256, 256, 1), (512, 512, 3), (1024, 2048, 7), (257, 256, 3)])
def test_large_model_s_pictures_are_thinned_by_an_odd_step(height: int, width: int, every: int) -> None:
    given = picture(height, width, 1)
    went_in = []
    taken = take(lambda pictures: inverted(went_in.append(pictures) or pictures), given, parity(0))
    kept = given[::every, ::every, 0]
    assert taken.every == every
    assert kept.size <= MOST_PIXELS
    np.testing.assert_array_equal(read(taken.input), kept)
    np.testing.assert_array_equal(read(taken.translation), 255 - kept)
    assert went_in[0].shape == (1, height, width, 1)
    np.testing.assert_array_equal(went_in[0][0, ::every, ::every, 0], kept)


@pytest.mark.parametrize(("largest", "accepted"), [(0, 2), (1, 2), (2, 3), (9, 10)])
def test_accepts_a_level_more_than_pytorch_was_off(largest: int, accepted: int) -> None:
    assert take(inverted, picture(2, 2, 3), parity(largest)).max_difference == accepted
