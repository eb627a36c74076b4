"""Takes from a file what its pixels do not need, before a decoder sees it.

A small file can be made expensive by everything around its pixels: colour profiles that inflate a thousandfold,
millions of empty segments, EXIF entries that all refer to the same bytes, thousands of scans over one frame. What is
not there cannot be expanded. Only the orientation is wanted of it all.
"""

from __future__ import annotations

import re
import struct
import zlib

from service.errors import InvalidPicture
from service.picture.header import JPEG_SCAN, Header, jpeg_segments

_MAX_CHUNKS = 50_000  # of a PNG or WebP file

_PNG_SIGNATURE_SIZE = 8
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

_JPEG_COMMENT = 0xFE
_JPEG_EXIF = 0xE1
# JFIF and Adobe tell how the colours are stored; the other applications' segments are notes.
_JPEG_NOTES = frozenset({_JPEG_COMMENT, *range(0xE0, 0xF0)}) - {0xE0, 0xEE}
_JPEG_END = 0xD9
# Writers make about ten for a progressive picture. Each costs a pass over all of it, if only a few bytes in the file.
_JPEG_MAX_SCANS = 50
_JPEG_MAX_MARKERS = 2000  # between and after scans, where tables stand
# What ends a scan: FF followed by neither 00, FF (a filling), the number of a restart nor 01, which says nothing.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")


def strip(encoded: bytes, header: Header) -> tuple[bytes, bytes]:
    """Returns a file with the same pixels and without metadata, and the EXIF block it had (empty: none).

    Raises InvalidPicture for what no writer makes, and struct.error where the file ends too early.
    """
    match header.format:
        case "PNG":
            return _strip_png(encoded)
        case "JPEG":
            return _strip_jpeg(encoded)
        case "WebP":
            return encoded, _webp_exif(encoded)  # what libwebp does with the rest is bounded


def _strip_png(encoded: bytes) -> tuple[bytes, bytes]:
    kept, exif = [encoded[:_PNG_SIGNATURE_SIZE]], b""
    position = _PNG_SIGNATURE_SIZE
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", encoded, position)
        end = position + 12 + length
        if kind in _PNG_KEPT:
            _check_sum(encoded, position + 4, end - 4)
            kept.append(encoded[position:end])
        elif kind == b"eXIf":
            exif = encoded[position + 8 : end - 4]
        if kind == b"IEND":
            return b"".join(kept), exif
        position = end
    raise InvalidPicture(f"the PNG has more than {_MAX_CHUNKS:,} chunks; save it anew")


def _check_sum(encoded: bytes, start: int, end: int) -> None:
    """Raises InvalidPicture unless the checksum behind a chunk's kind and content is theirs; Pillow ignores it."""
    (expected,) = struct.unpack_from(">I", encoded, end)
    if zlib.crc32(memoryview(encoded)[start:end]) != expected:
        raise InvalidPicture("the PNG is damaged: a checksum does not match; send it anew")


def _strip_jpeg(encoded: bytes) -> tuple[bytes, bytes]:
    kept, exif = [encoded[:2]], b""
    for marker, start, end in jpeg_segments(encoded):
        if marker == JPEG_SCAN:
            _check_scans(encoded, start)
            kept.append(encoded[start:])
        elif marker not in _JPEG_NOTES:
            kept.append(encoded[start:end])
        elif marker == _JPEG_EXIF and encoded.startswith(b"Exif\0\0", start + 4):
            exif = exif or encoded[start + 4 : end]
    return b"".join(kept), exif


def _check_scans(encoded: bytes, position: int) -> None:
    """Raises InvalidPicture for too many scans from a position up to the picture's end; anything may stand after it."""
    scans = 0
    for _ in range(_JPEG_MAX_MARKERS):
        marker = _JPEG_MARKER.search(encoded, position)
        if not marker or marker[0][1] == _JPEG_END:
            return
        scans += marker[0][1] == JPEG_SCAN
        if scans > _JPEG_MAX_SCANS:
            break
        position = marker.end() + struct.unpack_from(">H", encoded, marker.end())[0]
    raise InvalidPicture(f"the JPEG has more than {_JPEG_MAX_SCANS} scans, or endless tables in between; save it anew")


def _webp_exif(encoded: bytes) -> bytes:
    """Returns the EXIF chunk, which only the extended format (VP8X) has and announces by a flag."""
    position = 12
    if encoded[position : position + 4] != b"VP8X" or not encoded[position + 8] & 0x08:
        return b""
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(encoded):
            break
        kind, length = struct.unpack_from("<4sI", encoded, position)
        if kind == b"EXIF":
            return encoded[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return b""
