"""Real pictures to prove an export with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from export.errors import PicturesError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from export.metadata import PictureSpec

MOST = 32  # the proof takes seconds, not minutes
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}

_MODES = {1: "L", 3: "RGB"}


def load(folder: Path, spec: PictureSpec) -> NDArray[np.uint8]:
    """Returns up to 32 of the folder's pictures, spread over its names: [n, H, W, C], stretched to the model's size.

    Raises PicturesError where the folder holds none, one cannot be read, or the model takes neither grey nor RGB.
    """
    mode = _MODES.get(spec.channels)
    if mode is None:
        raise PicturesError(f"{folder}: picture files hold 1 or 3 channels; this model takes {spec.channels}")
    files = _spread(_files(folder))
    return np.stack([_read(file, mode, (spec.width, spec.height)) for file in files])


def _files(folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise PicturesError(f"{folder}: {error.strerror}; name a folder of real pictures with --pictures") from error
    if not files:
        raise PicturesError(f"{folder} holds no pictures; name a folder of real ones with --pictures")
    return files


def _spread(files: list[Path]) -> list[Path]:
    places = np.linspace(0, len(files) - 1, min(MOST, len(files))).round().astype(int)
    return [files[place] for place in places]


def _read(file: Path, mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as picture:
            fitted = picture.convert(mode)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise PicturesError(f"{file} is no picture that can be read: {error}") from error
    if fitted.size != size:
        fitted = fitted.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(fitted, dtype=np.uint8).reshape(size[1], size[0], -1)
