"""From what a caller sends to pixels: [H, W, C], RGB or grey, of 8 bits or 16, whatever the model takes.

Pillow decodes, but for PNG files of 16 bits where all of them are wanted (deep_png.py). OpenCV is up to a third faster
on JPEG, but lets libpng and libjpeg write to stderr whatever they find wrong with a caller's file, and loses what a
right picture needs: CMYK, palettes' transparency, 16-bit colour keys.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import InvalidPicture
from service.picture.deep_png import read_deep
from service.picture.header import Header, read_header
from service.picture.orientation import read_orientation, turn_upright
from service.picture.samples import SAMPLES, as_samples
from service.picture.strip import strip

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    from service.limits import Limits
    from service.picture.samples import Pixels, Samples

    Bytes = NDArray[np.uint8]

_WHITE = 255
_ROWS = 512

# Only these three readers are ever given a caller's bytes; Image.open would try all that Pillow knows.
_READERS: dict[str, type[ImageFile]] = {"PNG": PngImageFile, "JPEG": JpegImageFile, "WebP": WebPImageFile}

# What Pillow raises for a file that breaks its format's rules.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, AssertionError, struct.error, zlib.error)

# Limits are the server's and checked before Pillow sees the file; Pillow's own would only get in the way.
Image.MAX_IMAGE_PIXELS = None


def check(encoded: bytes, limits: Limits) -> Header:
    """Checks an encoded picture by its size and header alone, in microseconds and without decoding.

    Raises InvalidPicture for what is no PNG, JPEG or WebP file and PictureTooLarge for what exceeds a limit.
    """
    limits.check_bytes(len(encoded))
    header = read_header(encoded)
    limits.check_sides(header.height, header.width)
    return header


def decode(encoded: bytes, channels: int, limits: Limits, dtype: Samples = "uint8") -> Pixels:
    """Decodes a PNG, JPEG or WebP file to [H, W, channels] of `dtype`, grey (1 channel) or RGB (3).

    The EXIF orientation is applied, transparency laid over white, an animation gives its first frame. Asked for 8 bits,
    16 bits a channel become 8; asked for 16, they are kept, and what has 8 is scaled by 257. Raises InvalidPicture for
    a file that is damaged, incomplete or of another format, and PictureTooLarge.
    """
    header = check(encoded, limits)
    try:
        file, exif = strip(encoded, header)
        pixels = read_deep(file, header) if dtype == "uint16" and header.depth == 16 else _read(file, header)
    except _DAMAGE as error:
        raise InvalidPicture(f"the {header.format} cannot be decoded: it is damaged or incomplete") from error
    return _convert(as_samples(turn_upright(pixels, read_orientation(exif)), dtype), channels)


def from_raw(
    data: bytes,
    height: int,
    width: int,
    channels: int,
    *,
    model_channels: int,
    limits: Limits,
    dtype: Samples = "uint8",
    model_dtype: Samples = "uint8",
) -> Pixels:
    """Takes raw samples, row by row with a pixel's channels side by side, as [height, width, model_channels].

    Samples of 16 bits are little-endian; they become 8 by their high byte, and 8 become 16 times 257. Grey and RGB are
    converted to each other; any other number of channels must be the model's own. Raises InvalidPicture, also when the
    length is not height * width * channels samples, and PictureTooLarge. The array may be a read-only view of `data`.
    """
    limits.check_sides(height, width)
    if channels < 1:
        raise InvalidPicture(f"the tensor has {channels} channels; there must be at least 1")
    sample = SAMPLES[dtype]
    expected = height * width * channels * sample.itemsize
    if len(data) != expected:
        raise InvalidPicture(
            f"the tensor has {len(data):,} bytes, but height {height} x width {width} x channels {channels} "
            f"{f'of {dtype} ' if sample.itemsize > 1 else ''}makes {expected:,}"
        )
    pixels = np.frombuffer(data, sample).reshape(height, width, channels)
    return _convert(as_samples(pixels, model_dtype), model_channels)


def _read(file: bytes, header: Header) -> Bytes:
    """Returns [H, W, 1 or 3] for any kind of sample that the formats know, transparency laid over white.

    Converts some rows at a time: a large picture is then twice in memory, as Pillow's and as ours, and not five times.
    """
    stored = _READERS[header.format](BytesIO(file))
    if stored.size != (header.width, header.height):
        raise ValueError("a second header contradicts the first")
    if stored.mode == "P" and stored.palette is None:
        raise ValueError("a palette picture without a palette")
    stored.load()
    _scale_transparent_colour(stored, header.depth)
    tops = range(0, header.height, _ROWS)
    bands = (_pixels(stored.crop((0, top, header.width, min(top + _ROWS, header.height)))) for top in tops)
    first = next(bands)
    pixels = np.empty((header.height, header.width, first.shape[2]), np.uint8)
    pixels[:_ROWS] = first
    for top, band in zip(tops[1:], bands, strict=True):
        pixels[top : top + _ROWS] = band
    return pixels


def _pixels(stored: Image.Image) -> Bytes:
    if stored.mode == "I;16":
        return _from_sixteen_bits(np.asarray(stored), stored.info.get("transparency"))
    if stored.has_transparency_data:
        return np.asarray(_over_white(stored.convert("RGBA")))
    if stored.mode in {"1", "L"}:
        return np.asarray(stored.convert("L"))[..., np.newaxis]
    return np.asarray(stored.convert("RGB"))


def _from_sixteen_bits(grey: NDArray[np.uint16], transparent: int | None) -> Bytes:
    """Keeps the high byte of each sample, as Pillow does where there are several channels."""
    pixels = (grey >> 8).astype(np.uint8)
    if transparent is not None:
        pixels[grey == transparent] = _WHITE
    return pixels[..., np.newaxis]


def _scale_transparent_colour(stored: ImageFile, depth: int) -> None:
    """Brings a PNG's transparent colour, given in the file's own bits, to the 8 that Pillow decodes to."""
    match stored.mode, stored.info.get("transparency"):
        case "L", int(grey):
            stored.info["transparency"] = grey * _WHITE // (2**depth - 1)
        case "RGB", (red, green, blue) if depth == 16:
            stored.info["transparency"] = red >> 8, green >> 8, blue >> 8


def _over_white(rgba: Image.Image) -> Image.Image:
    """Lays RGBA over white; Pillow's paste blends with each value rounded to the nearest."""
    canvas = Image.new("RGB", rgba.size, "white")
    canvas.paste(rgba, mask=rgba)
    return canvas


def _convert(pixels: Pixels, channels: int) -> Pixels:
    """Converts between grey and RGB; raises InvalidPicture for any other difference in channels."""
    match pixels.shape[2], channels:
        case given, wanted if given == wanted:
            return pixels
        case 3, 1:
            return cast("Pixels", cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[..., np.newaxis]
        case 1, 3:
            return np.repeat(pixels, 3, axis=2)
        case given, wanted:
            raise InvalidPicture(
                f"the picture has {given} channel{'s' * (given > 1)}, the model takes {wanted}; "
                "only grey (1) and RGB (3) are converted to each other"
            )
