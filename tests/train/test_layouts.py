from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.layouts import check_pairs, describe, find_pairs, read_pair, splits
from train.data.pictures import UnreadablePicture, write_png
from train.errors import PairsError


def sound(folder: Path, split: str | None = None, *, skip_bad: bool = False) -> list[str]:
    pairs = check_pairs(find_pairs(folder, split), 3, 3, skip_bad=skip_bad, what=str(folder))
    return [pair.name for pair in pairs]


def test_side_by_side_pictures_are_cut_in_the_middle(side_by_side: Path) -> None:
    A, B = read_pair(find_pairs(side_by_side, "train").pairs[0], 3, 3)
    both = cv2.cvtColor(cv2.imread(str(side_by_side / "train" / "0.png")), cv2.COLOR_BGR2RGB)
    assert np.array_equal(np.concatenate([A, B], axis=1), both)


def test_two_folders_are_matched_by_name_whatever_the_suffix(two_folders: Path) -> None:
    picture = cv2.imread(str(two_folders / "B" / "2.png"))
    cv2.imwrite(str(two_folders / "B" / "2.webp"), picture)
    (two_folders / "B" / "2.png").unlink()
    assert sound(two_folders) == ["0", "1", "2", "3"]


def test_splits_are_found_in_either_layout(side_by_side: Path, two_folders: Path) -> None:
    assert splits(side_by_side) == ("train", "val")
    assert splits(two_folders) == (None, None)
    for side in "AB":
        (two_folders / side / "train").mkdir()
        (two_folders / side / "test").mkdir()
        for path in sorted((two_folders / side).glob("*.png")):
            path.rename(two_folders / side / ("test" if path.stem == "3" else "train") / path.name)
    assert splits(two_folders) == ("train", "test")
    assert sound(two_folders, "test") == ["3"]


def test_every_bad_file_is_listed_by_name(two_folders: Path) -> None:
    (two_folders / "A" / "0.png").write_bytes(b"")
    data = (two_folders / "A" / "1.png").read_bytes()
    (two_folders / "A" / "1.png").write_bytes(data[: len(data) // 2])
    write_png(two_folders / "B" / "2.png", np.zeros((64, 64, 3), np.uint8))
    (two_folders / "B" / "3.png").unlink()
    write_png(two_folders / "B" / "lonely.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(PairsError) as raised:
        sound(two_folders)
    message = str(raised.value)
    for part in ("A/0.png: empty", "A/1.png: not a picture", "128x128", "64x64", "A/3.png: no partner", "lonely.png"):
        assert part in message


def test_bad_pairs_can_be_left_out_and_are_counted(two_folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two_folders / "A" / "0.png").write_bytes(b"no picture")
    assert sound(two_folders, skip_bad=True) == ["1", "2", "3"]
    assert "left out 1 bad, kept 3" in capsys.readouterr().out


def test_a_jpeg_that_was_cut_off_is_bad(two_folders: Path) -> None:
    _, data = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8))
    (two_folders / "A" / "0.png").unlink()
    (two_folders / "A" / "0.jpg").write_bytes(data.tobytes()[: len(data) // 2])
    with pytest.raises(PairsError, match=r"0\.jpg: not a picture, or damaged"):
        sound(two_folders)


def test_two_pictures_of_one_name_are_a_problem_not_a_guess(side_by_side: Path) -> None:
    (side_by_side / "train" / "0.jpg").write_bytes((side_by_side / "train" / "0.png").read_bytes())
    with pytest.raises(PairsError, match="same name"):
        sound(side_by_side, "train")


def test_an_odd_width_cannot_be_side_by_side(side_by_side: Path) -> None:
    write_png(side_by_side / "train" / "odd.png", np.zeros((8, 15, 3), np.uint8))
    with pytest.raises(PairsError, match="15 pixels wide"):
        sound(side_by_side, "train")


@pytest.mark.parametrize("folder", ["missing", "."])
def test_a_folder_without_pairs_is_refused_by_name(tmp_path: Path, folder: str) -> None:
    with pytest.raises(PairsError, match=r"no such folder|no pictures"):
        find_pairs(tmp_path / folder)


def test_pictures_of_16_bits_keep_them(tmp_path: Path) -> None:
    both = np.linspace(0, 65535, 8 * 16 * 3).reshape(8, 16, 3).astype(np.uint16)
    write_png(tmp_path / "0.png", both)
    A, B = read_pair(find_pairs(tmp_path).pairs[0], 3, 3)
    assert np.array_equal(np.concatenate([A, B], axis=1), both)


def test_grey_and_colour_are_read_as_asked(tmp_path: Path) -> None:
    grey, colour = np.full((8, 8, 3), 90, np.uint8), np.full((8, 8, 3), (250, 10, 10), np.uint8)
    write_png(tmp_path / "0.png", np.concatenate([grey, colour], axis=1))
    A, B = read_pair(find_pairs(tmp_path).pairs[0], 1, 3)
    assert A.shape == (8, 8, 1)
    assert (A == 90).all()
    assert np.array_equal(B, colour)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    bgra = np.zeros((4, 8, 4), np.uint8)
    bgra[:, :4, 3] = 255
    cv2.imwrite(str(tmp_path / "0.png"), bgra)
    A, B = read_pair(find_pairs(tmp_path).pairs[0], 3, 3)
    assert (A == 0).all()
    assert (B == 255).all()


def test_four_channels_that_are_wanted_as_two_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "0.png", np.zeros((4, 8, 1), np.uint8))
    with pytest.raises(UnreadablePicture, match="channels"):
        read_pair(find_pairs(tmp_path).pairs[0], 2, 2)


def test_a_data_set_describes_itself(side_by_side: Path) -> None:
    assert describe(side_by_side)["name"] == "pairs"
    (side_by_side / "pairs.json").write_text(json.dumps({"name": "frames", "licence": "CC0", "size": 128}))
    assert describe(side_by_side) == {"name": "frames", "licence": "CC0", "attribution": "", "url": ""}
    (side_by_side / "pairs.json").write_text("{")
    with pytest.raises(PairsError, match=r"pairs\.json"):
        describe(side_by_side)
