"""PNG files of 16 bits a channel, with all their bits: Pillow keeps them for grey alone, and OpenCV for all.

OpenCV's libpng writes to stderr whatever it finds wrong with a file. So it never sees a caller's: what the caller's
pixels inflate to is checked here and packed anew, uncompressed, as a file in which nothing can be wrong.
Source: PNG specification (third edition), chapters 7 to 9 and 11.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from service.picture.header import Header

    Deep = NDArray[np.uint16]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type: grey, RGB, both with alpha; palettes have 8 bits at most
_WHITE = 65535
_LAST_FILTER = 4
# Origin and step of the seven passes of an interlaced picture: top, left, rows, columns.
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
_IDAT_BYTES = 1 << 20
_ROWS = 512


@dataclass(frozen=True)
class _Stored:
    """What the chunks of a file say: its layout, its compressed pixels and its transparent colour, if it has one."""

    height: int
    width: int
    colour: int
    interlaced: bool
    compressed: bytes
    transparent: tuple[int, ...] | None

    @property
    def passes(self) -> list[tuple[int, int]]:
        """Rows, and bytes in each with the filter's number before it, of every pass that has pixels."""
        origins = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        sizes = [
            (-(-(self.height - top) // rows), -(-(self.width - left) // columns))
            for top, left, rows, columns in origins
        ]
        return [(high, 1 + wide * 2 * _CHANNELS[self.colour]) for high, wide in sizes if high > 0 and wide > 0]


def read_deep(file: bytes, header: Header) -> Deep:
    """Returns [H, W, 1 or 3] of a PNG of 16 bits a channel, transparency laid over white.

    The file must have been stripped, which checks its chunks' sums. Raises ValueError, zlib.error or struct.error for
    one that is damaged or incomplete.
    """
    stored = _read_chunks(file, header)
    decoded = cv2.imdecode(np.frombuffer(_pack(stored, _inflate(stored)), np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise ValueError("OpenCV refuses a file that was packed anew")
    pixels = np.asarray(decoded, np.uint16).reshape(stored.height, stored.width, -1)
    return _opaque(pixels, stored)


def _read_chunks(file: bytes, header: Header) -> _Stored:
    headers, pixels, keys = [], [], []
    for kind, content in _chunks(file):
        match kind:
            case b"IHDR":
                headers.append(struct.unpack(">IIBBBBB", content))
            case b"IDAT":
                pixels.append(content)
            case b"tRNS":
                keys.append(content)
    ((width, height, depth, colour, compression, filtering, interlace),) = headers
    if (height, width, depth) != (header.height, header.width, 16) or colour not in _CHANNELS:
        raise ValueError("a header of pixels that cannot be")
    if (compression, filtering) != (0, 0) or interlace > 1:
        raise ValueError("a compression, filter or interlacing that no version of PNG has")
    transparent = struct.unpack(f">{_CHANNELS[colour]}H", keys[0]) if keys and colour in {0, 2} else None
    return _Stored(height, width, colour, bool(interlace), b"".join(pixels), transparent)


def _chunks(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_SIGNATURE)
    while position < len(file):
        length, kind = struct.unpack_from(">I4s", file, position)
        yield kind, file[position + 8 : position + 8 + length]
        position += 12 + length


def _inflate(stored: _Stored) -> bytes:
    """Returns the filtered rows, exactly as many bytes as the header claims, each with a filter that there is."""
    expected = sum(rows * length for rows, length in stored.passes)
    filtered = zlib.decompressobj().decompress(stored.compressed, expected)
    if len(filtered) < expected:
        raise ValueError("the pixels end too early")
    start = 0
    for rows, length in stored.passes:
        lines = np.frombuffer(filtered, np.uint8, rows * length, start).reshape(rows, length)
        if lines[:, 0].max() > _LAST_FILTER:
            raise ValueError("a filter that no version of PNG has")
        start += rows * length
    return filtered


def _pack(stored: _Stored, filtered: bytes) -> bytearray:
    """Returns a PNG of the same filtered rows, uncompressed."""
    layout = struct.pack(">IIBBBBB", stored.width, stored.height, 16, stored.colour, 0, 0, stored.interlaced)
    file, compressor = bytearray(_SIGNATURE), zlib.compressobj(0)
    _append(file, b"IHDR", layout)
    for start in range(0, len(filtered), _IDAT_BYTES):
        _append(file, b"IDAT", compressor.compress(filtered[start : start + _IDAT_BYTES]))
    _append(file, b"IDAT", compressor.flush())
    _append(file, b"IEND", b"")
    return file


def _append(file: bytearray, kind: bytes, content: bytes) -> None:
    file += struct.pack(">I4s", len(content), kind)
    file += content
    file += struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def _opaque(pixels: Deep, stored: _Stored) -> Deep:
    """Returns grey or RGB of what OpenCV read: grey, BGR, or BGRA, which stands for grey with alpha, too."""
    colours = pixels[..., : 1 if stored.colour in {0, 4} else 3][..., ::-1]
    made = np.empty(colours.shape, np.uint16)
    for top in range(0, stored.height, _ROWS):
        band = colours[top : top + _ROWS]
        if stored.colour in {4, 6}:
            band = _over_white(band, pixels[top : top + _ROWS, :, 3:])
        made[top : top + _ROWS] = band
        if stored.transparent is not None:
            made[top : top + _ROWS][(band == stored.transparent).all(axis=2)] = _WHITE
    return made


def _over_white(colours: Deep, alpha: Deep) -> Deep:
    """Blends, each value rounded to the nearest; the largest sum, 65535 * 65535 + 32767, still is one of 32 bits."""
    opacity = alpha.astype(np.uint32)
    return ((colours * opacity + _WHITE * (_WHITE - opacity) + _WHITE // 2) // _WHITE).astype(np.uint16)
