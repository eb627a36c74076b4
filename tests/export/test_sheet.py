from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from export.errors import OutputError
from export.sheet import HIGHEST, Row, is_made_by, sheet, write

if TYPE_CHECKING:
    from pathlib import Path


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return set(map(tuple, np.asarray(picture).reshape(-1, 3).tolist()))


@pytest.mark.parametrize(
    ("picture", "shown"),
    [
        (np.full((8, 8, 1), 77, np.uint8), (77, 77, 77)),
        (np.full((8, 8, 3), (10, 200, 30), np.uint8), (10, 200, 30)),
        (np.full((8, 8, 2), (70, 9), np.uint8), (70, 70, 70)),
        (np.full((8, 8, 5), (1, 2, 3, 4, 5), np.uint8), (1, 2, 3)),
        (np.full((8, 8, 3), (2570, 51400, 7710), np.uint16), (10, 200, 30)),
    ],
)
def test_any_picture_is_shown(picture: np.ndarray, shown: tuple[int, ...]) -> None:
    assert shown in colours(sheet(["one"], [Row("words", [picture])]))


def test_large_pictures_are_made_smaller_and_all_fit() -> None:
    large, small = np.zeros((512, 1024, 3), np.uint8), np.zeros((100, 50, 3), np.uint8)
    drawn = sheet(["large", "small"], [Row("", [large, small]), Row("", [small, small])])
    assert drawn.width >= 512 + 50
    assert HIGHEST + 100 <= drawn.height < HIGHEST + 100 + 80


def test_writer_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write(path, Image.new("RGB", (2, 2)), "us")
    assert is_made_by(path, "us")
    assert not is_made_by(path, "them")
    path.write_bytes(b"no picture")
    assert not is_made_by(path, "us")


def test_place_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*a\.png"):
        write(tmp_path / "a.png", Image.new("RGB", (2, 2)), "us")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
