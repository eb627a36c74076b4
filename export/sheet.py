"""Pictures in labelled rows, for people to look at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from export.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Picture = NDArray[Any]  # uint8 or uint16 [H, W, C]

HIGHEST = 256  # pixels of a picture on the sheet
GAP = 8
_LINE = 22  # pixels of a line of words
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_SOFTWARE = "Software"  # PNG's own keyword for what made a file


class Row(NamedTuple):
    """Pictures beside each other, and words over them ("" for none)."""

    words: str
    pictures: Sequence[Picture]


def sheet(columns: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """Returns RGB rows of pictures, small ones as they are, each column under its name."""
    panels = [[_panel(picture) for picture in row.pictures] for row in rows]
    font = ImageFont.load_default(14)
    widths = [_width(name, column, font) for name, column in zip(columns, zip(*panels, strict=True), strict=True)]
    heights = [max(panel.height for panel in row) + (_LINE if rows[i].words else 0) for i, row in enumerate(panels)]
    total = sum(widths) + GAP * (len(widths) + 1), sum(heights) + GAP * (len(heights) + 1) + _LINE
    paper = Image.new("RGB", total, _PAPER)
    pen = ImageDraw.Draw(paper)
    lefts = [GAP + sum(widths[:i]) + GAP * i for i in range(len(widths))]
    for left, name in zip(lefts, columns, strict=True):
        pen.text((left, GAP // 2), name, _INK, font)
    top = _LINE + GAP
    for row, pictures, height in zip(rows, panels, heights, strict=True):
        if row.words:
            pen.text((GAP, top), row.words, _INK, font)
        for left, panel in zip(lefts, pictures, strict=True):
            paper.paste(panel, (left, top + (_LINE if row.words else 0)))
        top += height + GAP
    return paper


def write(path: Path, picture: Image.Image, software: str) -> None:
    """Writes a PNG file that says what made it: whole, or not at all. Raises OutputError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    said = PngImagePlugin.PngInfo()
    said.add_text(_SOFTWARE, software)
    try:
        picture.save(beside, "PNG", pnginfo=said)
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


def is_made_by(path: Path, software: str) -> bool:
    """Tells whether the file is a picture that says that `software` made it."""
    try:
        with Image.open(path) as picture:
            return picture.info.get(_SOFTWARE) == software
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _panel(picture: Picture) -> Image.Image:
    """Shows 8 bits; grey as grey, of other channel counts than grey and RGB the first one or three."""
    shown = picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8)
    rgb = shown[..., :3] if shown.shape[2] >= 3 else np.repeat(shown[..., :1], 3, axis=2)
    panel = Image.fromarray(np.ascontiguousarray(rgb))
    if panel.height <= HIGHEST:
        return panel
    return panel.resize((max(1, panel.width * HIGHEST // panel.height), HIGHEST), Image.Resampling.BOX)


def _width(name: str, column: Sequence[Image.Image], font: Font) -> int:
    return max(*(panel.width for panel in column), int(font.getlength(name)) + 1)
