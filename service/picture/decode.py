"""From what a caller sends to pixels: [H, W, C] unsigned bytes, RGB or grey.

Pillow decodes. OpenCV is up to a third faster on JPEG, but lets libpng and libjpeg write to stderr whatever they find
wrong with a caller's file, and loses what a right picture needs: CMYK, palettes' transparency, 16-bit colour keys.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import InvalidPicture
from service.picture.header import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from service.picture.limits import Limits

    Pixels = NDArray[np.uint8]

# Only these three readers are ever given a caller's bytes; Image.open would try all that Pillow knows.
_READERS: dict[str, type[ImageFile]] = {"PNG": PngImageFile, "JPEG": JpegImageFile, "WebP": WebPImageFile}

# What Pillow raises for a file that breaks its format's rules.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, struct.error, zlib.error)

# Limits are the server's and checked before Pillow sees the file; Pillow's own would only get in the way.
Image.MAX_IMAGE_PIXELS = None
# Oddities in a caller's file are no news for the server's stderr.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# EXIF's orientation (tag 274) and what turns the stored picture upright.
_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}


def check(encoded: bytes, limits: Limits) -> Header:
    """Check an encoded picture by its size and header alone, in microseconds and without decoding.

    Raises InvalidPicture for what is no PNG, JPEG or WebP file and PictureTooLarge for what exceeds a limit.
    """
    limits.check_bytes(len(encoded))
    header = read_header(encoded)
    limits.check_sides(header.height, header.width)
    return header


def decode(encoded: bytes, channels: int, limits: Limits) -> Pixels:
    """Decode a PNG, JPEG or WebP file to [H, W, channels], grey (1 channel) or RGB (3).

    The EXIF orientation is applied, transparency laid over white, 16 bits a channel become 8, an animation gives its
    first frame. Raises InvalidPicture for a file that is damaged, incomplete or of another format, and PictureTooLarge.
    """
    header = check(encoded, limits)
    try:
        stored = _READERS[header.format](BytesIO(encoded))
        if stored.size != (header.width, header.height):
            raise ValueError("a second header contradicts the first")
        stored.load()
        pixels = _pixels(stored)
    except _DAMAGE as error:
        raise InvalidPicture(f"the {header.format} cannot be decoded: it is damaged or incomplete") from error
    return _convert(_upright(pixels, stored), channels)


def from_raw(data: bytes, height: int, width: int, channels: int, *, model_channels: int, limits: Limits) -> Pixels:
    """Take raw bytes, row by row with a pixel's channels side by side, as [height, width, model_channels].

    Grey and RGB are converted to each other; any other number of channels must be the model's own. Raises
    InvalidPicture, also when the length is not height * width * channels, and PictureTooLarge. The array may be a
    read-only view of `data`.
    """
    limits.check_sides(height, width)
    if channels < 1:
        raise InvalidPicture(f"the tensor has {channels} channels; there must be at least 1")
    expected = height * width * channels
    if len(data) != expected:
        raise InvalidPicture(
            f"the tensor has {len(data):,} bytes, but height {height} x width {width} x channels {channels} "
            f"makes {expected:,}"
        )
    return _convert(np.frombuffer(data, np.uint8).reshape(height, width, channels), model_channels)


def _pixels(stored: ImageFile) -> Pixels:
    """Return [H, W, 1 or 3] for any of Pillow's modes, transparency laid over white."""
    if stored.mode == "I;16":
        return (np.asarray(stored) >> 8).astype(np.uint8)[..., np.newaxis]
    if stored.has_transparency_data:
        return _over_white(np.asarray(stored.convert("RGBA")))
    if stored.mode in {"1", "L"}:
        return np.asarray(stored.convert("L"))[..., np.newaxis]
    return np.asarray(stored.convert("RGB"))


def _over_white(rgba: Pixels) -> Pixels:
    """Lay [H, W, 4] over white, each value rounded to the nearest."""
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _upright(pixels: Pixels, stored: ImageFile) -> Pixels:
    try:
        orientation = stored.getexif().get(_ORIENTATION)
    except _DAMAGE:  # the picture is sound; only the notes on it are not
        return pixels
    if orientation not in _UPRIGHT:
        return pixels
    return np.ascontiguousarray(_UPRIGHT[orientation](pixels))


def _convert(pixels: Pixels, channels: int) -> Pixels:
    """Convert between grey and RGB; raise InvalidPicture for any other difference in channels."""
    match pixels.shape[2], channels:
        case given, wanted if given == wanted:
            return pixels
        case 3, 1:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[..., np.newaxis]
        case 1, 3:
            return np.repeat(pixels, 3, axis=2)
        case given, wanted:
            raise InvalidPicture(
                f"the picture has {given} channel{'s' * (given > 1)}, the model takes {wanted}; "
                "only grey (1) and RGB (3) are converted to each other"
            )
