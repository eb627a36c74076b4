from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.errors import ModelFileError
from export.fingerprint import MOST_PIXELS, differ, take, unpack
from export.metadata import Parity, PictureSpec

if TYPE_CHECKING:
    from collections.abc import Callable


def parity(largest: float) -> Parity:
    return Parity(pictures=1, max_difference=largest, mean_difference=0.0, provider="CPUExecutionProvider")


def picture(height: int, width: int, channels: int, dtype: type[np.integer] = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def read(encoded: str) -> np.ndarray:
    file = np.frombuffer(base64.b64decode(encoded), np.uint8)
    pixels = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
    return pixels[..., ::-1] if pixels.ndim == 3 else pixels


def inverted(pictures: np.ndarray, seeds: object = None) -> np.ndarray:
    assert pictures.flags.c_contiguous
    assert seeds is None
    return np.iinfo(pictures.dtype).max - pictures


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
    taken = take(lambda pictures, _: inverted(went_in.append(pictures) or pictures), given, parity(0))
    kept = given[::every, ::every, 0]
    assert taken.every == every
    assert kept.size <= MOST_PIXELS
    np.testing.assert_array_equal(read(taken.input), kept)
    np.testing.assert_array_equal(read(taken.translation), 255 - kept)
    assert went_in[0].shape == (1, height, width, 1)
    np.testing.assert_array_equal(went_in[0][0, ::every, ::every, 0], kept)


@pytest.mark.parametrize(("largest", "accepted"), [(0, 2), (1, 2), (2, 3), (9, 10), (0.07, 2), (2.5, 3.5)])
def test_accepts_a_level_more_than_pytorch_was_off(largest: float, accepted: float) -> None:
    assert take(inverted, picture(2, 2, 3), parity(largest)).max_difference == accepted


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_sixteen_bits_are_kept(channels: int) -> None:
    given = picture(6, 8, channels, np.uint16)
    spec = PictureSpec.of(6, 8, channels, dtype="uint16")
    kept = unpack(take(inverted, given, parity(0)), spec, spec)
    np.testing.assert_array_equal(kept.given, given)
    np.testing.assert_array_equal(kept.made, 65535 - given)


def test_model_with_noise_is_given_seed_zero() -> None:
    seen = []
    take(lambda pictures, seeds: seen.append(seeds) or pictures, picture(4, 4, 3), parity(0), seeded=True)
    (seeds,) = seen
    assert (seeds.tolist(), seeds.dtype) == ([0], np.int64)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (300, 400)])
def test_difference_from_what_was_kept_is_found(height: int, width: int) -> None:
    spec = PictureSpec.of(height, width, 3)
    kept = take(inverted, picture(height, width, 3), parity(0))
    assert differ(inverted, kept, spec, spec, seeded=False).largest == 0

    def off(pictures: np.ndarray, _: object) -> np.ndarray:
        made = inverted(pictures)
        made[0, 0, 0, 0] ^= 4
        return made

    assert differ(off, kept, spec, spec, seeded=False).largest == 4


@pytest.mark.parametrize("damage", [lambda _: "no base64!", lambda file: file[:40], lambda _: ""])
def test_damaged_fingerprint_is_told(damage: Callable[[str], str]) -> None:
    spec = PictureSpec.of(4, 4, 3)
    kept = take(inverted, picture(4, 4, 3), parity(0))
    with pytest.raises(ModelFileError, match=r"fingerprint\.translation is damaged"):
        unpack(kept.model_copy(update={"translation": damage(kept.translation)}), spec, spec)


def test_fingerprint_of_another_size_is_told() -> None:
    kept = take(inverted, picture(4, 4, 3), parity(0))
    with pytest.raises(ModelFileError, match=r"fingerprint\.input is damaged: no PNG file of uint8 \[8, 4, 3\]"):
        unpack(kept, PictureSpec.of(8, 4, 3), PictureSpec.of(8, 4, 3))
