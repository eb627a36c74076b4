from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from service.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Deep = NDArray[np.uint16]

# No test measures seconds, and this machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def limits() -> Limits:
    return Limits(max_bytes=20_000_000, max_side=8192, max_pixels=16_000_000)


@pytest.fixture(scope="session")
def gradients() -> Pixels:
    """60 x 90 RGB pixels on which no two orientations or channel orders look alike."""
    y, x = np.mgrid[0:60, 0:90]
    return np.stack([x * 2, y * 4, 255 - x], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def save() -> Callable[..., bytes]:
    """Has Pillow write an array or a picture as a file of a format, with its options."""

    def save(picture: Pixels | Image.Image, file_format: str, **options: object) -> bytes:
        file = BytesIO()
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(file, file_format, **options)
        return file.getvalue()

    return save


@pytest.fixture(scope="session")
def build_png() -> Callable[..., bytes]:
    """Builds a PNG of any depth and colour type from one row, repeated, with more chunks before the pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def build_png(size: tuple[int, int], depth: int, colour: int, row: bytes, *more: tuple[bytes, bytes]) -> bytes:
        width, height = size
        header = b"IHDR", struct.pack(">IIBB3x", width, height, depth, colour)
        pixels = b"IDAT", zlib.compress((b"\0" + row) * height)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*given) for given in [header, *more, pixels, (b"IEND", b"")])

    return build_png


# Where the pixels of an interlaced PNG's seven passes begin, and how far apart they are: rows, columns.
_PASSES = [((0, 8), (0, 8)), ((0, 8), (4, 8)), ((4, 8), (0, 4)), ((0, 4), (2, 4)), ((2, 4), (0, 2))]
_PASSES += [((0, 2), (1, 2)), ((1, 2), (0, 1))]


@pytest.fixture(scope="session")
def build_deep_png() -> Callable[..., bytes]:
    """Builds a PNG of 16 bits from [H, W, C]; `filters` are the numbers before the rows, all zero by default."""

    def lines(samples: Deep, filters: list[int]) -> bytes:
        stored = samples.astype(">u2")
        return b"".join(bytes([filters[row % len(filters)]]) + stored[row].tobytes() for row in range(len(stored)))

    def build(
        samples: Deep, *more: tuple[bytes, bytes], interlaced: bool = False, filters: tuple[int, ...] = (0,)
    ) -> bytes:
        height, width, channels = samples.shape
        passes = _PASSES if interlaced else [((0, 1), (0, 1))]
        parts = [samples[top::rows, left::columns] for (top, rows), (left, columns) in passes]
        content = b"".join(lines(part, list(filters)) for part in parts if part.size)
        colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
        layout = struct.pack(">IIBB2xB", width, height, 16, colour, interlaced)
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(given)) + kind + given + struct.pack(">I", zlib.crc32(kind + given))
            for kind, given in [(b"IHDR", layout), *more, (b"IDAT", zlib.compress(content)), (b"IEND", b"")]
        )

    return build
