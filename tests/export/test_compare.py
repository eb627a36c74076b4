from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from export.compare import compare
from export.errors import OptionError, OutputError
from export.metadata import PictureSpec
from export.model_file import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two grey pictures, the second so bright that a model that adds levels runs into white."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, level in (("dark", 100), ("light", 250)):
        Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(folder / f"{name}.png")
    return folder


def test_differences_are_told_picture_by_picture(
    hand_made: Callable[..., Path], pictures: Path, tmp_path: Path, lapis_export: Callable[..., Any]
) -> None:
    a, b = hand_made("plain"), hand_made("brighter", by=10)
    ended = lapis_export("--compare", a, b, pictures, "--output", tmp_path / "c.png")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("A  plain/1, fp32")
    assert lines[1].startswith("B  brighter/1, fp32")
    assert lines[4].split()[:3] == ["dark", "10", "10.0000"]
    assert lines[5].split()[:3] == ["light", "5", "5.0000"]
    assert lines[6].split()[:4] == ["all", "2", "10", "7.5000"]
    assert lines[8].startswith("worst  dark: at most 10 levels")
    assert lines[9] == f"wrote  {tmp_path}/c.png"


def test_picture_shows_input_both_models_and_difference(
    hand_made: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    compare(hand_made("plain"), hand_made("brighter", by=10), pictures, output=tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        shown = {tuple(colour) for colour in np.asarray(picture.convert("RGB")).reshape(-1, 3)}
    amplified = 10 * 16
    assert {(level, level, level) for level in (100, 110, 250, 255, amplified, amplified // 2)} <= shown


def test_json_has_every_figure(hand_made: Callable[..., Path], pictures: Path, tmp_path: Path) -> None:
    told = compare(hand_made("a"), hand_made("b", by=10), pictures, output=tmp_path / "c.png", as_json=True)
    found = json.loads(told)
    assert (found["a"]["name"], found["b"]["name"], found["worst"]) == ("a", "b", "dark")
    assert found["overall"]["largest"] == 10
    assert [one["picture"] for one in found["pictures"]] == ["dark", "light"]


def test_equal_models_differ_by_nothing(hand_made: Callable[..., Path], pictures: Path, tmp_path: Path) -> None:
    model = hand_made()
    found = json.loads(compare(model, model, pictures, output=tmp_path / "c.png", as_json=True))
    assert (found["overall"]["largest"], found["overall"]["psnr"], found["overall"]["ssim"]) == (0, None, 1)


def test_figures_against_targets_are_told_for_both(hand_made: Callable[..., Path], tmp_path: Path) -> None:
    for side, level in (("A", 100), ("B", 110)):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(tmp_path / "pairs" / side / "cat.png")
    a, b = hand_made("a"), hand_made("b", by=10)
    found = json.loads(compare(a, b, tmp_path / "pairs", output=tmp_path / "c.png", as_json=True))
    assert found["a"]["figures"]["l1"] == pytest.approx(10 / 255)
    assert found["b"]["figures"]["l1"] == 0


def test_other_sizes_bits_and_inputs_are_brought_together(
    hand_made: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    a = hand_made("small")
    b = hand_made("large", given=PictureSpec.of(32, 64, 3, dtype="uint16"))
    found = json.loads(compare(a, b, pictures, output=tmp_path / "c.png", as_json=True))
    assert found["overall"]["largest"] == 0


def test_pictures_of_other_channels_are_refused(hand_made: Callable[..., Path], pictures: Path, tmp_path: Path) -> None:
    grey = hand_made("grey", given=PictureSpec.of(16, 16, 1))
    with pytest.raises(OptionError, match=r"cats\.onnx gives 3 channels \(rgb\), .*grey\.onnx 1 channel \(grey\)"):
        compare(hand_made(), grey, pictures, output=tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_models_of_opposite_directions_ask_which_is_meant(
    hand_made: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    a, b = hand_made("a"), hand_made("b", direction="BtoA")
    with pytest.raises(OptionError, match="--direction"):
        compare(a, b, pictures, output=tmp_path / "c.png")
    compare(a, b, pictures, output=tmp_path / "c.png", direction="AtoB")


def test_earlier_picture_is_replaced_and_any_other_file_only_by_force(
    hand_made: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    model, output = hand_made(), tmp_path / "c.png"
    Image.new("RGB", (2, 2)).save(output)
    theirs = output.read_bytes()
    with pytest.raises(OutputError, match="no picture of --compare; replace it with --force"):
        compare(model, model, pictures, output=output)
    assert output.read_bytes() == theirs
    compare(model, model, pictures, output=output, force=True)
    ours = output.read_bytes()
    compare(model, hand_made("b", by=10), pictures, output=output)
    assert output.read_bytes() != ours
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".onnx") == ["c.png", "pictures"]


@pytest.mark.parametrize(
    ("name", "expected"), [("c.jpg", "ends in .png"), ("nowhere/c.png", "its folder is not there")]
)
def test_place_that_cannot_be_written_is_told_first(
    hand_made: Callable[..., Path], pictures: Path, tmp_path: Path, name: str, expected: str
) -> None:
    with pytest.raises(OutputError, match=expected):
        compare(hand_made(), hand_made(), pictures, output=tmp_path / name)


def test_models_of_one_name_are_told_apart_by_their_files(
    hand_made: Callable[..., Path], pictures: Path, tmp_path: Path
) -> None:
    a = hand_made("cats").rename(tmp_path / "first.onnx")
    assert read(a).name == "cats"
    assert f"A  {a}, fp32" in compare(a, hand_made("cats"), pictures, output=tmp_path / "c.png")
