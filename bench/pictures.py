"""The pictures that are sent: drawn, or a folder's, in the formats and sizes asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from lapis.v1 import translation_pb2 as pb

from bench.errors import BenchError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.settings import PictureKind

    Pixels = NDArray[np.uint8]

_EXTENSIONS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_CANVAS = 256


class Sent:
    """A picture as it is sent: its part of a TranslateRequest, serialised, and its format."""

    def __init__(self, picture_format: str, **picture: object) -> None:
        self.format = picture_format
        fields: Any = picture
        self.wire = pb.TranslateRequest(**fields).SerializeToString()


def load(kind: PictureKind, folder: Path | None, variety: int, seed: int) -> list[Sent]:
    """Returns at most `variety` different pictures of a kind. Raises BenchError where the folder has none to offer."""
    if folder and kind.format == "file":
        files = _files(folder)[:variety]
        return [Sent(_EXTENSIONS[path.suffix.lower()], encoded=path.read_bytes()) for path in files]
    return [_sent(kind, picture) for picture in read_or_draw(folder, variety, seed)]


def read_or_draw(folder: Path | None, variety: int, seed: int) -> list[Pixels]:
    """Returns at most `variety` pictures of a folder, or as many drawings, uint8 [H, W, 3] in OpenCV's order."""
    if folder:
        return [_read(path) for path in _files(folder)[:variety]]
    rng = np.random.default_rng(seed)
    return [draw(rng) for _ in range(variety)]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BenchError(f"--folder {folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _EXTENSIONS)
    if not found:
        raise BenchError(f"--folder {folder}: no .png, .jpg, .jpeg or .webp in it")
    return found


def _read(path: Path) -> Pixels:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise BenchError(f"{path}: not a picture that can be read")
    return np.asarray(picture, np.uint8)


def draw(rng: np.random.Generator) -> Pixels:
    """Returns a drawing of black curves on white, uint8 [256, 256, 3]: what edge models are fed."""
    canvas = np.full((_CANVAS, _CANVAS, 3), 255, np.uint8)
    for _ in range(12):
        x, y, wide, high, turn = (int(number) for number in rng.integers(20, _CANVAS - 20, 5))
        cv2.ellipse(canvas, (x, y), (wide // 3, high // 3), turn, 0, 300, (0, 0, 0), 4, cv2.LINE_AA)
    return canvas


def _sent(kind: PictureKind, picture: Pixels) -> Sent:
    sized = cv2.resize(picture, (kind.width, kind.height), interpolation=cv2.INTER_AREA)
    if kind.format == "raw":
        rgb = cv2.cvtColor(sized, cv2.COLOR_BGR2RGB)
        return Sent("raw", tensor=pb.Tensor(data=rgb.tobytes(), height=kind.height, width=kind.width, channels=3))
    return Sent(kind.format, encoded=cv2.imencode(f".{kind.format}", sized)[1].tobytes())
