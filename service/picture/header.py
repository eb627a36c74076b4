"""The format and the size of an encoded picture, read off its first bytes without decoding anything.

Libraries allocate the canvas that a header claims (Pillow's WebP reader as early as on opening), so the claim is
checked here first. Sources: PNG specification 11.2.2, ITU-T T.81 annex B, RFC 9649 sections 2.5 to 2.7.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from service.errors import InvalidPicture

ACCEPTED = "send a PNG, JPEG or WebP file"

# Start-of-frame markers are C0 to CF but for C4 (Huffman tables), C8 (reserved) and CC (arithmetic conditioning).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone, without a length: TEM, RST0 to RST7 and SOI.
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9


@dataclass(frozen=True)
class Header:
    """What a file says of itself: format, and size in pixels before any EXIF orientation."""

    format: Literal["PNG", "JPEG", "WebP"]
    height: int
    width: int


def read_header(encoded: bytes) -> Header:
    """Read the format and the size; raise InvalidPicture when the bytes are no PNG, JPEG or WebP file."""
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


def _png(encoded: bytes) -> Header:
    kind, width, height = struct.unpack_from(">4sII", encoded, 12)
    if kind != b"IHDR":
        raise InvalidPicture(f"the PNG is damaged: it does not begin with its header (IHDR); {ACCEPTED}")
    return Header("PNG", height, width)


def _jpeg(encoded: bytes) -> Header:
    """Walk the segments, each marker (FF, then its kind) followed by a length, up to the start of the frame."""
    position = 2
    while True:
        prefix, kind = struct.unpack_from(">BB", encoded, position)
        if prefix != 0xFF or kind in {_JPEG_SCAN, _JPEG_END}:
            raise InvalidPicture(f"the JPEG is damaged: no frame header where one must be; {ACCEPTED}")
        if kind == 0xFF:  # padding before a marker
            position += 1
        elif kind in _JPEG_BARE:
            position += 2
        elif kind in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", encoded, position + 5)
            return Header("JPEG", height, width)
        else:
            position += 2 + struct.unpack_from(">H", encoded, position + 2)[0]


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
