from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from service.picture.decode import decode
from service.picture.orientation import read_orientation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from service.limits import Limits

    Pixels = NDArray[np.uint8]
    Save = Callable[..., bytes]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_picture_comes_out_as_it_is_to_be_seen(
    orientation: int, file_format: str, gradients: Pixels, save: Save, limits: Limits
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    turned = decode(save(gradients, file_format, exif=exif, **options), 3, limits)
    noted = Image.fromarray(decode(save(gradients, file_format, **options), 3, limits))
    noted.getexif()[0x0112] = orientation
    assert np.array_equal(turned, np.asarray(ImageOps.exif_transpose(noted)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(order: str) -> None:
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = struct.pack(f"{order}HHHIHH HHIHH", 2, 0x0100, 3, 1, 640, 0, 0x0112, 3, 1, 6, 0)
    assert read_orientation(b"Exif\0\0" + mark + struct.pack(f"{order}I", 8) + entries) == 6


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientation_out_of_range_counts_as_none(value: int) -> None:
    assert read_orientation(b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, value, 0)) == 1


@given(st.binary(max_size=200).map(lambda junk: b"Exif\0\0II*\0" + junk) | st.binary(max_size=50))
def test_nonsense_never_fails(exif: bytes) -> None:
    assert 1 <= read_orientation(exif) <= 8


def test_nonsense_in_exif_leaves_the_picture_as_it_is(gradients: Pixels, save: Save, limits: Limits) -> None:
    assert np.array_equal(decode(save(gradients, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), 3, limits), gradients)
