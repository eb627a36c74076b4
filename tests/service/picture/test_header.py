from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

import pytest

from service.errors import InvalidPicture, PictureTooLarge
from service.limits import Limits
from service.picture.decode import check
from service.picture.header import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Save = Callable[..., bytes]
    BuildPng = Callable[..., bytes]
    Options = dict[str, object]


@pytest.mark.parametrize(
    ("file_format", "options", "name"),
    [
        ("PNG", {}, "PNG"),
        ("JPEG", {}, "JPEG"),
        ("JPEG", {"progressive": True}, "JPEG"),
        ("WEBP", {}, "WebP"),
        ("WEBP", {"lossless": True}, "WebP"),
        ("WEBP", {"exif": b"Exif\0\0II*\0"}, "WebP"),  # the extended format
    ],
)
def test_format_and_size_are_read_from_the_content(
    gradients: Pixels, save: Save, file_format: str, options: Options, name: Literal["PNG", "JPEG", "WebP"]
) -> None:
    header = read_header(save(gradients, file_format, **options))
    assert header == Header(name, height=60, width=90)


def test_frame_is_found_behind_padding_and_bytes_between_segments(gradients: Pixels, save: Save) -> None:
    jpeg = save(gradients, "JPEG")
    jfif_end = 20
    assert read_header(jpeg[:jfif_end] + b"\x01\x02\xff\xff\xff\xff\x01" + jpeg[jfif_end:]) == Header("JPEG", 60, 90)


def test_tables_before_the_frame_are_not_taken_for_it(gradients: Pixels, save: Save) -> None:
    jpeg = save(gradients, "JPEG")
    frame, tables, scan = (jpeg.index(marker) for marker in (b"\xff\xc0", b"\xff\xc4", b"\xff\xda"))
    moved = jpeg[:frame] + jpeg[tables:scan] + jpeg[frame:tables] + jpeg[scan:]
    assert read_header(moved) == Header("JPEG", 60, 90)


@pytest.mark.parametrize(
    "content",
    [b"hello", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(20), b"RIFF1234WAVE"],
)
def test_other_content_is_refused_with_what_is_accepted(content: bytes, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="send a PNG, JPEG or WebP file"):
        check(content, limits)


def test_empty_picture_is_refused(limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="is empty; send a PNG, JPEG or WebP file"):
        check(b"", limits)


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WEBP"],
)
def test_header_that_ends_early_is_refused(content: bytes, limits: Limits) -> None:
    with pytest.raises(InvalidPicture):
        check(content, limits)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIB", 13, b"IDAT", 9, 9, 8),
        b"\xff\xd8\xff\xda\x00\x02\xff\xd9",
        b"\xff\xd8\xff\xd9\x00\x00",
        b"RIFF\x20\0\0\0WEBPALPH" + bytes(20),
        b"RIFF\x20\0\0\0WEBPVP8 " + bytes(20),
        b"RIFF\x20\0\0\0WEBPVP8L" + bytes(20),
    ],
)
def test_file_without_a_frame_header_is_refused_as_damaged(content: bytes, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="damaged"):
        check(content, limits)


def _claims(side: int, build_png: BuildPng) -> dict[str, bytes]:
    return {
        "PNG": build_png((side, side), 8, 2, b"")[:60],
        "JPEG": b"\xff\xd8\xff\xc0\x00\x11\x08"
        + struct.pack(">HH", side & 0xFFFF, side & 0xFFFF)
        + b"\x03"
        + b"\x01\x11\x00" * 3,
        "WebP": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (side - 1).to_bytes(3, "little") * 2,
    }


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WebP"])
def test_claimed_size_beyond_the_limits_is_refused_with_the_limit(
    file_format: str, build_png: BuildPng, limits: Limits
) -> None:
    with pytest.raises(PictureTooLarge, match=r"60,000 x 60,000 pixels; at most 8,192 along a side"):
        check(_claims(60_000, build_png)[file_format], limits)


def test_all_bits_of_a_webp_canvas_count(build_png: BuildPng, limits: Limits) -> None:
    with pytest.raises(PictureTooLarge, match=r"131,073 x 131,073 pixels"):
        check(_claims(131_073, build_png)["WebP"], limits)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WebP"])
def test_pixel_count_is_limited_apart_from_the_sides(file_format: str, build_png: BuildPng) -> None:
    with pytest.raises(PictureTooLarge, match=r"100 x 100 = 10,000 pixels; at most 9,999 in all"):
        check(_claims(100, build_png)[file_format], Limits(max_bytes=1000, max_side=100, max_pixels=9999))


def test_file_size_is_limited_whatever_the_content() -> None:
    with pytest.raises(PictureTooLarge, match=r"1,001 bytes; at most 1,000"):
        check(bytes(1001), Limits(max_bytes=1000, max_side=10, max_pixels=10))


def test_picture_at_the_limits_is_accepted(gradients: Pixels, save: Save) -> None:
    file = save(gradients, "PNG")
    check(file, Limits(max_bytes=len(file), max_side=90, max_pixels=5400))


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (0, 0)])
def test_picture_without_pixels_is_refused(width: int, height: int, build_png: BuildPng, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="both sides must be at least 1"):
        check(build_png((width, height), 8, 0, b""), limits)


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xe5\x00\x02", b"\xff\x01"])
def test_endless_jpeg_header_is_refused(filler: bytes, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="segments before its pixels"):
        check(b"\xff\xd8\xff\xe0\x00\x02" + filler * 100_000, limits)


def test_jpeg_of_nothing_but_its_first_marker_and_noise_is_refused(limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="ends within its header"):
        check(b"\xff\xd8\xff\xe0\x00\x02" + bytes(100_000), limits)
