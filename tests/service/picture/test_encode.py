from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image

from service.errors import InvalidRequest
from service.picture.encode import Format, check_output, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


def _opened(file: bytes) -> Image.Image:
    return Image.open(BytesIO(file))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_gives_back_the_same_pixels(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 14, channels), np.uint8)
    image = _opened(encode(picture, Format.PNG, 0))
    assert image.format == "PNG"
    assert np.array_equal(np.asarray(image).reshape(picture.shape), picture)


@pytest.mark.parametrize("file_format", [Format.JPEG, Format.WEBP])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_keep_colours_in_their_order(file_format: Format, channels: int, gradients: Pixels) -> None:
    picture = gradients[..., :channels]
    image = _opened(encode(np.ascontiguousarray(picture), file_format, 95))
    assert image.format == file_format.value.upper()
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), int).reshape(picture.shape)
    assert np.abs(pixels - picture).mean() < 3


@pytest.mark.parametrize("file_format", [Format.JPEG, Format.WEBP])
def test_quality_decides_on_size_and_is_90_where_none_is_given(file_format: Format, gradients: Pixels) -> None:
    files = {quality: encode(gradients, file_format, quality) for quality in (0, 1, 50, 90, 100)}
    assert files[0] == files[90]
    assert len(files[1]) < len(files[50]) < len(files[90]) < len(files[100])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_raw_is_the_bare_pixels_of_any_channels(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 6, channels), np.uint8)
    assert encode(picture, Format.RAW, 0) == picture.tobytes()


def test_raw_pixels_of_a_view_come_row_by_row(gradients: Pixels) -> None:
    view = gradients[10:20, 5:9]
    assert encode(view, Format.RAW, 0) == view.copy().tobytes()


@pytest.mark.parametrize("file_format", [Format.PNG, Format.JPEG, Format.WEBP])
def test_view_is_encoded_like_its_copy(file_format: Format, gradients: Pixels) -> None:
    for view in (gradients[10:20, 5:9], gradients[10:20, 5:9, :1]):
        assert encode(view, file_format, 0) == encode(view.copy(), file_format, 0)


@pytest.mark.parametrize(
    ("file_format", "channels"),
    [(Format.PNG, 2), (Format.PNG, 5), (Format.JPEG, 2), (Format.JPEG, 4), (Format.WEBP, 4)],
)
def test_channels_that_a_format_cannot_hold_are_refused(file_format: Format, channels: int) -> None:
    with pytest.raises(
        InvalidRequest, match=f"{file_format.value} cannot hold the model's output of {channels} channels"
    ):
        check_output(file_format, 0, channels)


@pytest.mark.parametrize("file_format", [Format.JPEG, Format.WEBP])
@pytest.mark.parametrize("quality", [-1, 101, 2**31 - 1])
def test_quality_out_of_range_is_refused(file_format: Format, quality: int) -> None:
    with pytest.raises(InvalidRequest, match="it must be from 1 to 100"):
        check_output(file_format, quality, 3)


@pytest.mark.parametrize("file_format", [Format.PNG, Format.RAW])
@pytest.mark.parametrize("quality", [-1, 1, 90])
def test_quality_for_a_format_that_has_none_is_refused(file_format: Format, quality: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{file_format.value} has none"):
        check_output(file_format, quality, 3)


@pytest.mark.parametrize("quality", [0, 1, 100])
def test_quality_in_range_is_accepted(quality: int) -> None:
    check_output(Format.JPEG, quality, 3)
    check_output(Format.WEBP, quality, 1)


@pytest.mark.parametrize(("file_format", "side"), [(Format.JPEG, 65_501), (Format.WEBP, 16_384)])
def test_side_that_a_format_cannot_hold_is_refused(file_format: Format, side: int) -> None:
    with pytest.raises(InvalidRequest, match=f"at most {side - 1:,} along a side"):
        encode(np.zeros((1, side, 1), np.uint8), file_format, 0)
    assert encode(np.zeros((1, side - 1, 1), np.uint8), file_format, 0)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_sixteen_bits_gives_back_the_same_samples(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 65536, (9, 14, channels), np.uint16)
    file = encode(picture, Format.PNG, 0)
    assert file[24] == 16
    read = np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)).reshape(picture.shape)
    assert read.dtype == np.uint16
    assert np.array_equal(read[..., [0] if channels == 1 else [2, 1, 0, 3][:channels]], picture)


def test_raw_samples_of_sixteen_bits_are_little_endian() -> None:
    picture = np.array([[[1, 256], [65535, 0]]], np.uint16)
    assert encode(picture, Format.RAW, 0) == bytes([1, 0, 0, 1, 255, 255, 0, 0])
    assert encode(picture.astype(">u2"), Format.RAW, 0) == encode(picture, Format.RAW, 0)


@pytest.mark.parametrize("file_format", [Format.JPEG, Format.WEBP])
def test_sixteen_bits_that_a_format_cannot_hold_are_refused(file_format: Format) -> None:
    with pytest.raises(InvalidRequest, match=f"{file_format.value} cannot hold the model's output of 16 bits"):
        check_output(file_format, 0, 3, "uint16")
    with pytest.raises(InvalidRequest, match="ask for PNG or raw pixels"):
        encode(np.zeros((4, 4, 3), np.uint16), file_format, 0)
    check_output(Format.PNG, 0, 3, "uint16")
    check_output(Format.RAW, 0, 7, "uint16")
