"""The kinds of samples that a picture is made of: 8 or 16 bits, from black (0) to white (all bits set)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.unsignedinteger[Any]]

Samples: TypeAlias = Literal["uint8", "uint16"]

# As they come and go: little-endian.
SAMPLES: dict[Samples, np.dtype[np.unsignedinteger[Any]]] = {
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype("<u2"),
}
# Level v of 255 is level 257 * v of 65535, exactly.
_LEVELS = np.uint16(257)


def as_samples(pixels: Pixels, dtype: Samples) -> Pixels:
    """Returns the picture in that kind of samples: 8 bits times 257, or the high byte of 16; itself where it is so."""
    wanted = SAMPLES[dtype]
    if pixels.dtype == wanted:
        return pixels
    if wanted.itemsize > pixels.dtype.itemsize:
        return np.multiply(pixels, _LEVELS, dtype=np.uint16)
    return (pixels >> 8).astype(np.uint8)


def white(pixels: Pixels) -> int:
    """Returns the highest level of the picture's samples."""
    return int(np.iinfo(pixels.dtype).max)
