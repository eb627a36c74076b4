"""What a decoder never gets to see: each of these files costs seconds or gigabytes where it does."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.errors import InvalidPicture
from service.picture.decode import decode
from service.picture.header import read_header
from service.picture.strip import strip

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from service.limits import Limits

    Pixels = NDArray[np.uint8]
    Save = Callable[..., bytes]
    BuildPng = Callable[..., bytes]


def test_profiles_and_texts_of_a_png_are_not_inflated(build_png: BuildPng, limits: Limits) -> None:
    megabyte = zlib.compress(bytes(1_000_000))
    notes = [(b"iCCP", b"x\0\0" + megabyte), (b"zTXt", b"x\0\0" + megabyte)] * 5000
    file = build_png((1, 1), 8, 0, b"\x07", *notes)
    stripped, _ = strip(file, read_header(file))
    assert stripped == build_png((1, 1), 8, 0, b"\x07")
    assert decode(file, 1, limits).tolist() == [[[7]]]


def test_png_of_endless_chunks_is_refused(build_png: BuildPng, limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="more than 50,000 chunks"):
        decode(build_png((1, 1), 8, 0, b"\x07", *[(b"IDAT", b"")] * 50_001), 1, limits)


def test_applications_segments_and_comments_of_a_jpeg_are_left_out(
    gradients: Pixels, save: Save, limits: Limits
) -> None:
    plain = save(gradients, "JPEG")
    noted = save(gradients, "JPEG", icc_profile=bytes(100_000), comment=b"hello", exif=b"Exif\0\0" + bytes(100))
    stripped, exif = strip(noted, read_header(noted))
    assert stripped == plain
    assert exif == b"Exif\0\0" + bytes(100)
    assert np.array_equal(decode(noted, 3, limits), decode(plain, 3, limits))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _many_scans(side: int, scans: int, between: bytes = b"") -> bytes:
    """Returns a valid progressive JPEG whose every further scan says in a few bytes that nothing changes."""
    one_code = bytes([1] + [0] * 15)
    blocks = (side // 8) ** 2
    head = _segment(0xDB, b"\0" + b"\1" * 64)  # quantisation
    head += _segment(0xC2, struct.pack(">BHHB3B", 8, side, side, 1, 1, 0x11, 0))
    head += _segment(0xC4, b"\x00" + one_code + b"\x00") + _segment(0xC4, b"\x10" + one_code + b"\x00")
    first = _segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(blocks // 8)
    further = between + _segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + bytes(blocks // 8)
    return b"\xff\xd8" + head + first + further * (scans - 1) + b"\xff\xd9"


COMMENT_LIKE_THE_END = _segment(0xFE, b"\xff\xd9")
NOTHING_LIKE_A_LENGTH = b"\xff\x01\xff\xfe\x00\x02"


@pytest.mark.parametrize("between", [b"", COMMENT_LIKE_THE_END, NOTHING_LIKE_A_LENGTH, b"\xff\xd3"])
def test_jpeg_of_endless_scans_is_refused(limits: Limits, between: bytes) -> None:
    assert decode(_many_scans(64, 50, between), 1, limits).shape == (64, 64, 1)
    with pytest.raises(InvalidPicture, match="more than 50 scans"):
        decode(_many_scans(64, 51, between), 1, limits)


def test_jpeg_of_endless_tables_between_scans_is_refused(limits: Limits) -> None:
    with pytest.raises(InvalidPicture, match="more than 50 scans"):
        decode(_many_scans(64, 2, _segment(0xFE, b"") * 2000), 1, limits)


def test_what_a_phone_appends_to_a_photo_counts_as_no_scan(limits: Limits) -> None:
    film = b"\xff\xda\x00\x08" * 1000
    assert decode(_many_scans(64, 10) + film, 1, limits).shape == (64, 64, 1)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "PNG"])
def test_exif_entries_that_share_their_bytes_are_not_copied(
    file_format: str, gradients: Pixels, save: Save, limits: Limits
) -> None:
    size = 60_000
    entries = b"".join(struct.pack("<HHII", tag, 7, size, 8) for tag in range(1, 4000))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 3999) + entries + bytes(size - len(entries))
    file = save(gradients, file_format, exif=exif)
    decode(file, 3, limits)  # imports and caches
    tracemalloc.start()
    decode(file, 3, limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_webp_that_announces_exif_and_has_none_is_read(gradients: Pixels, save: Save, limits: Limits) -> None:
    webp = bytearray(save(gradients, "WEBP", lossless=True, icc_profile=b"profile"))
    assert webp[12:16] == b"VP8X"
    webp[20] |= 0x08
    assert np.array_equal(decode(bytes(webp), 3, limits), gradients)
