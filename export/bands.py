"""Picture files with any number of channels, as they are: nothing is converted, no transparency is laid over white."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from train.data.pictures import UnreadablePicture

if TYPE_CHECKING:
    from pathlib import Path

Picture = NDArray[Any]  # uint8 or uint16 [H, W, C]


def read_array(file: Path) -> Picture:
    """Reads a NumPy array, uint8 or uint16 [H, W, C] or [H, W]; raises UnreadablePicture for anything else."""
    try:
        # Mapped, so that a header that promises more than the file holds is refused before anything is allocated.
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UnreadablePicture(error.strerror or str(error)) from error
    except (ValueError, EOFError) as error:
        raise UnreadablePicture(f"no NumPy array of numbers, or cut short ({_line(error)})") from error
    return _checked(array)


def read_bands(file: Path, channels: int | None = None) -> Picture:
    """Reads a picture with the channels that it has, colours as R, G, B; raises UnreadablePicture.

    Grey with transparency comes as two channels where two are wanted, else as four.
    """
    picture = _read_tiff(file) if file.suffix.lower() in (".tif", ".tiff") else _read_other(file)
    return picture[..., [0, 3]] if (channels, picture.shape[2]) == (2, 4) and _is_grey(picture) else picture


def _read_tiff(file: Path) -> Picture:
    """Reads all samples of a TIFF file; a file that has a page for each channel counts as one picture."""
    try:
        with tifffile.TiffFile(file) as tiff:
            series = tiff.series[0]
            array, axes = series.asarray(), series.axes
    except OSError as error:
        raise UnreadablePicture(error.strerror or str(error)) from error
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, TypeError) as error:
        raise UnreadablePicture(f"no TIFF file that can be read ({_line(error)})") from error
    if array.ndim == 3 and "Y" in axes and "X" in axes:
        order = [axes.index("Y"), axes.index("X")]
        array = array.transpose([*order, *({0, 1, 2} - set(order))])
    return _checked(array)


def _read_other(file: Path) -> Picture:
    try:
        picture = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as error:
        raise UnreadablePicture(error.strerror or str(error)) from error
    except cv2.error as error:
        raise UnreadablePicture("not a picture, or empty or damaged") from error
    if picture is None:
        raise UnreadablePicture("not a picture, or damaged")
    return _in_order(_checked(picture))


def _in_order(picture: Picture) -> Picture:
    """Turns OpenCV's B, G, R into R, G, B."""
    return picture if picture.shape[2] < 3 else picture[..., [2, 1, 0, 3][: picture.shape[2]]]


def _is_grey(picture: Picture) -> bool:
    return bool((picture[..., :1] == picture[..., 1:3]).all())


def _checked(array: NDArray[Any]) -> Picture:
    picture = array[..., None] if array.ndim == 2 else array
    if picture.ndim != 3 or 0 in picture.shape or picture.dtype not in (np.uint8, np.uint16):
        raise UnreadablePicture(
            f"holds {array.dtype} {list(array.shape)}; wanted are uint8 or uint16 [H, W, C] (height, width, channels)"
        )
    return np.ascontiguousarray(picture)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
