"""From pixels to what a caller gets."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import cv2

from service.errors import InvalidRequest
from service.picture.samples import SAMPLES

if TYPE_CHECKING:
    from service.picture.samples import Pixels, Samples

DEFAULT_QUALITY = 90


class Format(Enum):
    """Formats of an answer; RAW is the pixels themselves."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WebP"
    RAW = "raw"


_LOSSY = {Format.JPEG: cv2.IMWRITE_JPEG_QUALITY, Format.WEBP: cv2.IMWRITE_WEBP_QUALITY}
_CHANNELS = {Format.PNG: (1, 3, 4), Format.JPEG: (1, 3), Format.WEBP: (1, 3)}
_MAX_SIDE = {Format.JPEG: 65_500, Format.WEBP: 16_383}
_TO_OPENCV = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


def check_output(
    format: Format,  # noqa: A002 (the protocol's name)
    quality: int,
    channels: int,
    dtype: Samples = "uint8",
) -> None:
    """Raises InvalidRequest unless a picture of such channels and samples can be encoded in the format at the quality.

    The quality is 1 to 100 for JPEG and WebP, or 0 for the default of 90; it must be 0 for the other formats.
    """
    if format not in _LOSSY and quality != 0:
        raise InvalidRequest(
            f"quality is {quality}, but {format.value} has none; leave it at 0 or ask for JPEG or WebP"
        )
    if not 0 <= quality <= 100:
        raise InvalidRequest(
            f"quality is {quality}; it must be from 1 to 100, or 0 for the default of {DEFAULT_QUALITY}"
        )
    if format in _CHANNELS and channels not in _CHANNELS[format]:
        raise InvalidRequest(
            f"{format.value} cannot hold the model's output of {channels} channels; ask for raw pixels"
        )
    if format in _LOSSY and dtype != "uint8":
        raise InvalidRequest(f"{format.value} cannot hold the model's output of 16 bits; ask for PNG or raw pixels")


def check_size(format: Format, height: int, width: int) -> None:  # noqa: A002
    """Raises InvalidRequest unless the format can hold a picture of so many pixels."""
    most = _MAX_SIDE.get(format)
    if most and max(height, width) > most:
        raise InvalidRequest(f"{format.value} cannot hold {width:,} x {height:,} pixels; at most {most:,} along a side")


def encode(picture: Pixels, format: Format, quality: int) -> bytes:  # noqa: A002
    """Encodes [H, W, C], grey, RGB or RGBA, as a file of the format, or as bare samples (little-endian) for RAW.

    The samples are of 8 or 16 bits, and so are a PNG's. The quality is as for `check_output`. Raises InvalidRequest
    when the format cannot hold the picture.
    """
    height, width, channels = picture.shape
    dtype: Samples = "uint8" if picture.dtype.itemsize == 1 else "uint16"
    check_output(format, quality, channels, dtype)
    check_size(format, height, width)
    if format is Format.RAW:
        return picture.astype(SAMPLES[dtype], copy=False).tobytes()
    pixels = cv2.cvtColor(picture, _TO_OPENCV[channels]) if channels in _TO_OPENCV else picture
    # OpenCV's own choice for PNG takes half the time of zlib's level 1 or less, at about its size (bench/codec.py).
    options = (_LOSSY[format], quality or DEFAULT_QUALITY) if format in _LOSSY else ()
    written, encoded = cv2.imencode(f".{format.name.lower()}", pixels, options)
    if not written:
        raise RuntimeError(f"OpenCV could not write a {format.value} of shape {picture.shape}")
    return encoded.tobytes()
