"""PNG files of 16 bits for models that take 16."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.errors import InvalidPicture, PictureTooLarge
from service.limits import Limits
from service.picture.decode import decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Deep = NDArray[np.uint16]
    Numbers = NDArray[np.int64]
    Build = Callable[..., bytes]

SMALL = Limits(max_bytes=100_000, max_side=400, max_pixels=40_000)
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))
PICTURES = SHAPES.flatmap(lambda shape: arrays(np.uint16, shape))


def over_white(colours: Numbers, alpha: Numbers) -> Numbers:
    """Rounds to the nearest, in numbers that are large enough for the product."""
    return (2 * (colours * alpha + 65535 * (65535 - alpha)) + 65535) // (2 * 65535)


@given(picture=PICTURES, interlaced=st.booleans())
def test_all_bits_come_out_as_they_went_in(picture: Deep, interlaced: bool, build_deep_png: Build) -> None:
    made = decode(build_deep_png(picture, interlaced=interlaced), picture.shape[2], SMALL, "uint16")
    assert made.dtype == np.uint16
    assert np.array_equal(made, picture)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("filtering", range(5))
def test_every_filter_of_a_writer_is_undone(channels: int, filtering: int) -> None:
    y, x = np.mgrid[0:70, 0:90]
    picture = np.stack([x * 700, y * 900, x * y * 10], axis=-1).astype(np.uint16)[..., :channels]
    chosen = (cv2.IMWRITE_PNG_FILTER, [8, 16, 32, 64, 128][filtering])
    file = cv2.imencode(".png", picture[..., ::-1].copy(), chosen)[1].tobytes()
    assert np.array_equal(decode(file, channels, SMALL, "uint16"), picture)


@given(sides=st.tuples(st.integers(1, 20), st.integers(1, 20)), interlaced=st.booleans())
@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_is_laid_over_white_exactly(
    channels: int, sides: tuple[int, int], interlaced: bool, build_deep_png: Build
) -> None:
    picture = np.random.default_rng(sides).integers(0, 65536, (*sides, channels), np.uint16)
    picture[::3, :, -1] = 65535
    picture[1::3, ::2, -1] = 0
    made = decode(build_deep_png(picture, interlaced=interlaced), channels - 1, SMALL, "uint16")
    wide = picture.astype(np.int64)
    assert np.array_equal(made, over_white(wide[..., :-1], wide[..., -1:]))


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_colour_of_all_its_bits_becomes_white(channels: int, build_deep_png: Build) -> None:
    key = np.array([1000, 2000, 3000], np.uint16)[:channels]
    picture = np.stack([key, key + 1, key])[np.newaxis]
    file = build_deep_png(picture, (b"tRNS", key.astype(">u2").tobytes()))
    made = decode(file, channels, SMALL, "uint16")
    assert made[0].tolist() == [[65535] * channels, (key + 1).tolist(), [65535] * channels]


def test_tall_picture_comes_out_whole(build_deep_png: Build) -> None:
    limits = Limits(1_000_000, 8192, 1_000_000)
    for height in (511, 512, 513, 1025):
        picture = np.random.default_rng(height).integers(0, 65536, (height, 3, 4), np.uint16)
        made = decode(build_deep_png(picture), 3, limits, "uint16")
        wide = picture.astype(np.int64)
        assert np.array_equal(made, over_white(wide[..., :3], wide[..., 3:]))


def test_orientation_is_applied(build_deep_png: Build) -> None:
    picture = np.arange(6, dtype=np.uint16).reshape(2, 3, 1) * 1001
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    made = decode(build_deep_png(picture, (b"eXIf", exif)), 1, SMALL, "uint16")
    assert np.array_equal(made, picture.swapaxes(0, 1)[:, ::-1])


def test_grey_and_rgb_are_converted(build_deep_png: Build) -> None:
    picture = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), np.uint16)
    grey = decode(build_deep_png(picture), 1, SMALL, "uint16")
    assert np.abs(grey[..., 0] - picture @ [0.299, 0.587, 0.114]).max() <= 1.5
    rgb = decode(build_deep_png(grey), 3, SMALL, "uint16")
    assert np.array_equal(rgb, np.repeat(grey, 3, axis=2))


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))))
def test_eight_bits_are_scaled_to_sixteen(picture: NDArray[np.uint8]) -> None:
    file = cv2.imencode(".png", picture[..., ::-1].copy())[1].tobytes()
    made = decode(file, picture.shape[2], SMALL, "uint16")
    assert made.dtype == np.uint16
    assert np.array_equal(made, picture.astype(np.uint16) * 257)


def test_truncated_file_is_refused_wherever_it_ends(build_deep_png: Build) -> None:
    file = build_deep_png(np.random.default_rng(0).integers(0, 65536, (5, 6, 3), np.uint16))
    for end in range(len(file)):
        with pytest.raises(InvalidPicture):
            decode(file[:end], 3, SMALL, "uint16")


def test_file_with_any_byte_overwritten_is_refused(build_deep_png: Build) -> None:
    file = build_deep_png(np.random.default_rng(0).integers(0, 65536, (5, 6, 3), np.uint16))
    for position in range(len(file)):
        broken = file[:position] + bytes([file[position] ^ 0x10]) + file[position + 1 :]
        with pytest.raises((InvalidPicture, PictureTooLarge)):
            decode(broken, 3, SMALL, "uint16")


@pytest.mark.parametrize("interlaced", [False, True])
def test_filter_that_there_is_not_is_refused(interlaced: bool, build_deep_png: Build) -> None:
    picture = np.zeros((9, 9, 3), np.uint16)
    for filters in ((5,), (0, 0, 255)):
        with pytest.raises(InvalidPicture, match="damaged"):
            decode(build_deep_png(picture, interlaced=interlaced, filters=filters), 3, SMALL, "uint16")


def test_second_header_cannot_smuggle_in_a_larger_picture(build_deep_png: Build) -> None:
    small, large = (build_deep_png(np.zeros((side, side, 3), np.uint16)) for side in (10, 200))
    with pytest.raises(InvalidPicture, match="damaged"):
        decode(small[:33] + large[8:], 3, SMALL, "uint16")


def test_pixels_beyond_the_header_s_are_never_inflated(build_deep_png: Build) -> None:
    picture = np.random.default_rng(0).integers(0, 65536, (4, 4, 3), np.uint16)
    stored = picture.astype(">u2")
    content = b"".join(b"\0" + row.tobytes() for row in stored) + bytes(50_000_000)
    pixels = zlib.compress(content)
    chunk = struct.pack(">I", len(pixels)) + b"IDAT" + pixels + struct.pack(">I", zlib.crc32(b"IDAT" + pixels))
    whole = build_deep_png(picture)
    file = whole[:33] + chunk + whole[-12:]
    assert np.array_equal(decode(file, 3, SMALL, "uint16"), picture)


@settings(max_examples=300)
@given(data=st.data())
def test_mutated_file_gives_a_picture_or_a_typed_error(data: st.DataObject, build_deep_png: Build) -> None:
    channels = data.draw(st.sampled_from([1, 2, 3, 4]))
    picture = np.arange(5 * 4 * channels, dtype=np.uint16).reshape(5, 4, channels) * 321
    file = bytearray(build_deep_png(picture, interlaced=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(file) - 1))
        file[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    repaired = _with_sums(bytes(file)) if data.draw(st.booleans()) else bytes(file)
    try:
        made = decode(repaired, 3, SMALL, "uint16")
    except (InvalidPicture, PictureTooLarge):
        return
    assert made.dtype == np.uint16
    assert made.shape[2] == 3


def _with_sums(file: bytes) -> bytes:
    """Writes the right sum behind each chunk, so that what is broken gets past them."""
    whole, position = bytearray(file), 8
    while position + 12 <= len(whole):
        (length,) = struct.unpack_from(">I", whole, position)
        end = position + 8 + length
        if end + 4 > len(whole):
            break
        whole[end : end + 4] = struct.pack(">I", zlib.crc32(whole[position + 4 : end]))
        position = end + 4
    return bytes(whole)


CHILD = """
import sys
from pathlib import Path
from service.errors import InvalidPicture, PictureTooLarge
from service.picture.decode import decode
from service.limits import Limits
for path in sys.argv[1:]:
    try:
        decode(Path(path).read_bytes(), 3, Limits(1_000_000, 1000, 1_000_000), "uint16")
    except (InvalidPicture, PictureTooLarge):
        pass
"""


def test_broken_files_leave_no_word_on_stderr(build_deep_png: Build, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    paths = []
    for channels in (1, 2, 3, 4):
        picture = random.integers(0, 65536, (9, 7, channels), np.uint16)
        for interlaced in (False, True):
            file = build_deep_png(picture, (b"tRNS", bytes(6)), interlaced=interlaced)
            bent = [bytearray(file) for _ in range(20)]
            for one in bent:
                one[int(random.integers(8, len(file)))] ^= 0x41
            broken = [file, file[:-20], file + b"more", build_deep_png(picture, filters=(9,)), *map(_with_sums, bent)]
            for number, content in enumerate(broken):
                paths.append(tmp_path / f"{channels}-{interlaced}-{number}")
                paths[-1].write_bytes(content)
    child = subprocess.run([sys.executable, "-c", CHILD, *paths], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")
