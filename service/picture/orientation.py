"""The way up that a camera noted in a picture's EXIF block (tag 274, TIFF 6.0 section 8)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.picture.samples import Pixels

_TAG = 0x0112
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}

# What turns the stored picture upright, by the tag's value; 1 is upright already.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}


def read_orientation(exif: bytes) -> int:
    """Returns the orientation, 1 to 8, that an EXIF block gives; 1 where it gives none or makes no sense."""
    tiff = exif.removeprefix(b"Exif\0\0")
    try:
        order = _BYTE_ORDERS[tiff[:4]]
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, value = struct.unpack_from(f"{order}H6xH", tiff, directory + 2 + 12 * entry)
            if tag == _TAG:
                return value if value in _TURNS else 1
    except (KeyError, struct.error):
        return 1  # the picture is sound; only the notes on it are not
    return 1


def turn_upright(stored: Pixels, orientation: int) -> Pixels:
    """Returns [H, W, C] as it is to be seen; [W, H, C] for the orientations from 5 on."""
    return np.ascontiguousarray(_TURNS[orientation](stored)) if orientation in _TURNS else stored
