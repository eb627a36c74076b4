from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.layouts import find_pairs
from train.data.pictures import write_png
from train.errors import PairsError
from train.pairs.build import build_openmoji, check
from train.pairs.grid import write_grid
from train.pairs.openmoji import Drawing, code_points, drawings, hold_out, pair, render

CAT = "1F431"


def drawing(name: str) -> Drawing:
    return next(drawing for drawing in drawings() if drawing.name == name)


def test_skin_tones_and_flags_are_left_out() -> None:
    names = {drawing.name for drawing in drawings()}
    assert {CAT, "1F468-200D-1F692"} <= names
    assert not names & {"1F44B-1F3FD", "1F1E9-1F1EA", "1F3F4-200D-2620-FE0F"}
    assert len(names) == 2129


def test_a_pair_is_the_black_lines_and_the_whole_drawing() -> None:
    made = pair(drawing(CAT), 96)
    assert made is not None
    lines, whole = made
    assert lines.shape == whole.shape == (96, 96, 3)
    assert (lines.max(axis=2) == lines.min(axis=2)).all()
    assert (lines[48, 20] == 255).all()
    assert tuple(whole[48, 24]) == (0xF4, 0xAA, 0x41)  # the cat's fur
    assert np.array_equal(whole, render(drawing(CAT).svg, 96))


def test_a_drawing_without_colour_makes_no_pair() -> None:
    assert pair(drawing("00A9"), 64) is None  # the copyright sign: lines only


def test_siblings_are_held_out_together() -> None:
    names = [drawing.name for drawing in drawings()]
    held_out = hold_out(names, 300, seed=0)
    roles = {}
    for name in names:
        if code_points(name)[0] in {0x1F468, 0x1F469, 0x1F9D1} and "-200D-1F" in name:
            roles.setdefault(name.split("-200D-", 1)[1], set()).add(name in held_out)
    assert len(roles) > 20
    assert all(len(sides) == 1 for sides in roles.values())
    assert 300 <= len(held_out) < 330


def test_the_seed_chooses_what_is_held_out() -> None:
    names = [f"{0x1F400 + index:X}" for index in range(50)]
    assert hold_out(names, 5, seed=1) == hold_out(list(reversed(names)), 5, seed=1)
    assert hold_out(names, 5, seed=1) != hold_out(names, 5, seed=2)


def test_a_data_set_is_written_whole_with_its_licence(tmp_path: Path) -> None:
    counts = build_openmoji(tmp_path / "moji", size=32, test=4, seed=0, limit=40)
    assert counts["test"] >= 4
    assert check(tmp_path / "moji", channels_A=3, channels_B=3, skip_bad=False) == counts
    description = json.loads((tmp_path / "moji" / "pairs.json").read_text())
    assert description["licence"] == "CC BY-SA 4.0"
    assert description["pairs"] == counts
    for side in "AB":
        picture = cv2.imread(str(next((tmp_path / "moji" / "test" / side).iterdir())))
        assert picture is not None
        assert picture.shape == (32, 32, 3)
    with pytest.raises(PairsError, match="exists already"):
        build_openmoji(tmp_path / "moji", size=32, test=4, seed=0, limit=40)


def test_nothing_is_left_behind_where_the_data_set_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="nothing to train on"):
        build_openmoji(tmp_path / "moji", size=32, test=100, seed=0, limit=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "openmoji, check or grid"),
        (["grid", "{empty}", "--translations", "{empty}", "--output", "grid.png"], "no pictures"),
        (["openmoji"], "openmoji --output is required"),
        (["openmoji", "--output", "/proc/moji"], "/proc/moji: cannot be written"),
        (["openmoji", "--output", "x", "--size", "1"], "openmoji --size"),
        (["check", "{missing}"], "no such folder"),
        (["check", "{empty}"], "no pictures"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "empty").mkdir()
    filled = [argument.format(missing=tmp_path / "missing", empty=tmp_path / "empty") for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "train.pairs", *filled], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


def test_checking_lists_what_is_bad(side_by_side: Path) -> None:
    (side_by_side / "val" / "0.png").write_bytes(b"")
    arguments = [sys.executable, "-m", "train.pairs", "check", str(side_by_side)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "val/0.png: empty file" in done.stderr
    done = subprocess.run([*arguments, "--skip-bad"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "train 6 pairs, val 1 pairs" in done.stdout


def test_a_grid_shows_each_translation_between_its_pair(two_folders: Path, tmp_path: Path) -> None:
    translations, output = tmp_path / "made", tmp_path / "new" / "grid.png"
    translations.mkdir()
    for name in ("1", "3"):
        write_png(translations / f"{name}.png", np.full((64, 64, 3), int(name) * 50, np.uint8))
    assert write_grid(output, find_pairs(two_folders).pairs, translations, rows=8) == 2
    picture = cv2.imread(str(output))
    assert picture is not None
    assert picture.shape == (2 * 68, 3 * 68, 3)
    assert (picture[:64, 68:132] == 50).all()
    assert (picture[68:132, 68:132] == 150).all()
    with pytest.raises(PairsError, match="no picture here"):
        write_grid(output, find_pairs(two_folders).pairs, tmp_path / "new", rows=8)
