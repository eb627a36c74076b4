"""The format and the size of an encoded picture, read off its first bytes without decoding anything.

Libraries allocate the canvas that a header claims (Pillow's WebP reader as early as on opening), so the claim is
checked here first. Sources: PNG specification 11.2.2, ITU-T T.81 annex B, RFC 9649 sections 2.5 to 2.7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from service.errors import InvalidPicture

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED = "send a PNG, JPEG or WebP file"

JPEG_SCAN = 0xDA
_JPEG_END = 0xD9
# Start-of-frame markers are C0 to CF but for C4 (Huffman tables), C8 (reserved) and CC (arithmetic conditioning).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# What stands without a length: TEM, RST0 to RST7, SOI; and FF again, which may fill the space before a marker.
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9), 0xFF})
# Real files have some dozens; millions of empty segments would keep a reader busy for seconds.
_JPEG_MAX_SEGMENTS = 2000


@dataclass(frozen=True)
class Header:
    """What a file says of itself: format, size in pixels before any EXIF orientation, bits of a PNG's samples."""

    format: Literal["PNG", "JPEG", "WebP"]
    height: int
    width: int
    depth: int = 8


def read_header(encoded: bytes) -> Header:
    """Reads the format and the size; raises InvalidPicture when the bytes are no PNG, JPEG or WebP file."""
    if not encoded:
        raise InvalidPicture(f"the picture is empty; {ACCEPTED}")
    try:
        if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(encoded)
        if encoded.startswith(b"\xff\xd8\xff"):
            return _jpeg(encoded)
        if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
            return _webp(encoded)
    except struct.error as error:
        raise InvalidPicture("the picture ends within its header; send the whole file") from error
    raise InvalidPicture(f"the picture is no PNG, JPEG or WebP file by its content; {ACCEPTED}")


def jpeg_segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the kind, start and end of each segment of a JPEG up to the first scan's, its marker included."""
    position = 2
    for _ in range(_JPEG_MAX_SEGMENTS):
        position = encoded.find(b"\xff", position)  # anything else before a marker is skipped, as decoders do
        if position < 0:
            raise InvalidPicture("the JPEG ends within its header; send the whole file")
        kind = encoded[position + 1 : position + 2]
        if kind and kind[0] in _JPEG_BARE:
            position += 1 if kind == b"\xff" else 2
            continue
        marker, length = struct.unpack_from(">xBH", encoded, position)
        yield marker, position, position + 2 + length
        if marker in {JPEG_SCAN, _JPEG_END}:
            return
        position += 2 + length
    raise InvalidPicture(f"the JPEG has more than {_JPEG_MAX_SEGMENTS} segments before its pixels; save it anew")


def _png(encoded: bytes) -> Header:
    kind, width, height, depth = struct.unpack_from(">4sIIB", encoded, 12)
    if kind != b"IHDR":
        raise InvalidPicture(f"the PNG is damaged: it does not begin with its header (IHDR); {ACCEPTED}")
    return Header("PNG", height, width, depth)


def _jpeg(encoded: bytes) -> Header:
    for marker, start, _ in jpeg_segments(encoded):
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", encoded, start + 5)
            return Header("JPEG", height, width)
    raise InvalidPicture(f"the JPEG is damaged: it has no frame header before its pixels; {ACCEPTED}")


def _webp(encoded: bytes) -> Header:
    kind, payload = encoded[12:16], 20
    if kind == b"VP8 ":
        start_code, width, height = struct.unpack_from("<3sHH", encoded, payload + 3)
        if start_code == b"\x9d\x01\x2a":
            return Header("WebP", height & 0x3FFF, width & 0x3FFF)
    elif kind == b"VP8L":
        signature, bits = struct.unpack_from("<BI", encoded, payload)
        if signature == 0x2F:
            return Header("WebP", (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    elif kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", encoded, payload + 4)
        return Header("WebP", (high_height << 16 | low_height) + 1, (high_width << 16 | low_width) + 1)
    raise InvalidPicture(f"the WebP file is damaged: its first chunk is no picture; {ACCEPTED}")
