"""Reading and writing pictures as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

cv2.setNumThreads(1)  # threads of its own would be missing in the processes that a data loader forks

Picture = NDArray[Any]  # uint8 or uint16 [H, W, C], RGB or grey

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class UnreadablePicture(ValueError):
    """A file that is no picture; the message says why and leaves naming the file to who knows its place."""


def read_picture(path: Path, channels: int) -> Picture:
    """Reads a file as uint8 or uint16 [H, W, channels], RGB for three channels, grey for one.

    Transparency is laid over white. Raises UnreadablePicture for what is empty, damaged or no picture, or has
    a number of channels that does not convert.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadablePicture(error.strerror or str(error)) from error
    if not data:
        raise UnreadablePicture("empty file")
    picture = _decode(data)
    if picture is None:
        raise UnreadablePicture("not a picture, or damaged")
    return _convert(_over_white(picture), channels)


def write_png(path: Path, picture: Picture) -> None:
    """Writes uint8 or uint16 [H, W, C] (C is 1 or 3) as PNG. Raises OSError."""
    bgr = picture[..., ::-1] if picture.shape[2] == 3 else picture
    _, data = cv2.imencode(".png", np.ascontiguousarray(bgr))
    path.write_bytes(data.tobytes())


def resize(picture: Picture, height: int, width: int) -> Picture:
    """Resizes [H, W, C]; bicubic, and by area where the picture shrinks."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = picture.shape[0] > height or picture.shape[1] > width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    # OpenCV averages areas of at most four channels at a time.
    parts = [picture[..., first : first + 4] for first in range(0, picture.shape[2], 4)]
    resized = [cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=method) for part in parts]
    return np.concatenate([part.reshape(height, width, -1) for part in resized], axis=2)


def _decode(data: bytes) -> Picture | None:
    """Returns [H, W, C] in OpenCV's order, or None."""
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-64:]:
        return None  # OpenCV fills up a JPEG that was cut off and says nothing
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if picture is None or picture.dtype not in (np.uint8, np.uint16):
        return None
    return picture if picture.ndim == 3 else picture[..., None]


def _over_white(picture: Picture) -> Picture:
    if picture.shape[2] not in (2, 4):
        return picture
    white = np.iinfo(picture.dtype).max
    alpha = picture[..., -1:].astype(np.float32) / white
    return np.rint(picture[..., :-1] * alpha + white * (1 - alpha)).astype(picture.dtype)


def _convert(picture: Picture, channels: int) -> Picture:
    have = picture.shape[2]
    if (have, channels) == (3, 3):
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if (have, channels) == (1, 3):
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if (have, channels) == (3, 1):
        return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None]
    if have != channels:
        raise UnreadablePicture(f"has {have} channels, {channels} are wanted")
    return picture
