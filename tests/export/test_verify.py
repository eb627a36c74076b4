from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from export.errors import NotVerified
from export.metadata import PictureSpec
from export.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(random.integers(0, 200, (16, 16, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def verdicts(table: str) -> dict[str, str]:
    return {line.split()[0]: line.split()[1] for line in table.splitlines()[1:]}


def test_model_that_holds_is_told_check_by_check(
    hand_made: Callable[..., Path],
    with_fingerprint: Callable[..., Path],
    pictures: Path,
    lapis_export: Callable[..., Any],
) -> None:
    ended = lapis_export("--verify", with_fingerprint(hand_made()), pictures)
    assert (ended.code, ended.err) == (0, "")
    assert "cats, version 1, on CPUExecutionProvider, ONNX Runtime" in ended.out
    assert verdicts(ended.out) == {
        "file": "holds",
        "contract": "holds",
        "fingerprint": "holds",
        "threads": "holds",
        "batches": "holds",
        "repeats": "holds",
        "figures": "-",
    }


def test_seeds_and_sizes_are_checked_where_the_model_has_them(hand_made: Callable[..., Path], pictures: Path) -> None:
    model = hand_made(given=PictureSpec.of(16, 16, 3, multiple=8, smallest=8), seeded=True)
    found = verdicts(verify(model, pictures))
    assert (found["seeds"], found["sizes"], found["fingerprint"]) == ("holds", "holds", "-")


def test_sixteen_bits_and_other_channels_are_verified(hand_made: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "fields").mkdir()
    np.save(tmp_path / "fields" / "a.npy", np.random.default_rng(0).integers(0, 60000, (16, 16, 5), dtype=np.uint16))
    model = hand_made(given=PictureSpec.of(16, 16, 5, dtype="uint16"))
    assert "FAILS" not in verify(model, tmp_path / "fields")


def test_figures_of_pairs_stand_beside_those_of_the_file(hand_made: Callable[..., Path], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for side, picture in zip("AB", random.integers(0, 200, (2, 16, 16, 3), dtype=np.uint8), strict=True):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "pairs" / side / "cat.png")
    model = hand_made(validation={"l1": 0.1, "psnr": 12.0, "ssim": 0.3, "pairs": 9})
    found = json.loads(verify(model, tmp_path / "pairs", as_json=True))["checks"]["figures"]
    assert found["at_export"]["l1"] == 0.1
    assert found["here"]["pairs"] == 1
    assert 0.1 < found["here"]["l1"] < 0.5


def test_json_has_every_figure(
    hand_made: Callable[..., Path], pictures: Path, lapis_export: Callable[..., Any]
) -> None:
    found = json.loads(lapis_export("--verify", hand_made(), pictures, "--json").out)
    assert (found["model"], found["holds"], found["provider"]) == ("cats", True, "CPUExecutionProvider")
    assert found["checks"]["threads"]["max_difference"] == 0
    assert found["checks"]["fingerprint"]["held"] is None


def test_weights_that_were_changed_are_found_by_the_fingerprint(
    hand_made: Callable[..., Path],
    with_fingerprint: Callable[..., Path],
    pictures: Path,
    lapis_export: Callable[..., Any],
) -> None:
    path = with_fingerprint(hand_made())
    model = onnx.load(path)
    next(weight for weight in model.graph.initializer if weight.name == "by").float_data[0] = 3
    onnx.save(model, path)
    ended = lapis_export("--verify", path, pictures)
    assert ended.code == 2
    assert verdicts(ended.out)["fingerprint"] == "FAILS"
    assert ended.err == (
        f"lapis-export: error: {path} does not hold on cpu: fingerprint: 3 levels from what export saw; "
        "2 are accepted\n"
    )
    assert json.loads(lapis_export("--verify", path, pictures, "--json").out)["holds"] is False


def test_rows_that_mix_are_found(hand_made: Callable[..., Path], pictures: Path) -> None:
    mixed = [
        helper.make_node("ReduceMean", ["brighter"], ["mean"]),
        helper.make_node("Add", ["brighter", "mean"], ["ruled"]),
    ]
    with pytest.raises(NotVerified, match="batches: a picture's translation changes by up to"):
        verify(hand_made(rule=mixed), pictures)


def test_noise_beyond_the_seed_is_found(hand_made: Callable[..., Path], pictures: Path) -> None:
    drawn = [
        helper.make_node("RandomUniformLike", ["brighter"], ["drawn"], high=9.0),
        helper.make_node("Add", ["brighter", "drawn"], ["ruled"]),
    ]
    with pytest.raises(NotVerified, match="repeats: the same pictures come out up to"):
        verify(hand_made(rule=drawn), pictures)


def test_metadata_that_is_not_the_graph_s_is_found(hand_made: Callable[..., Path], pictures: Path) -> None:
    model = hand_made(noise="seeded")
    with pytest.raises(NotVerified, match="contract: the model's inputs are image; the contract has image, seed"):
        verify(model, pictures)


def test_model_without_metadata_is_told(
    hand_made: Callable[..., Path], pictures: Path, lapis_export: Callable[..., Any]
) -> None:
    path = hand_made()
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    ended = lapis_export("--verify", path, pictures)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "carries no 'lapis' metadata" in ended.err


@pytest.mark.parametrize("kept", [0, 40, 300])
def test_file_cut_short_is_told_in_one_line(
    hand_made: Callable[..., Path], pictures: Path, lapis_export: Callable[..., Any], kept: int
) -> None:
    path = hand_made()
    path.write_bytes(path.read_bytes()[:kept])
    ended = lapis_export("--verify", path, pictures)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)


def test_no_pictures_are_told(hand_made: Callable[..., Path], tmp_path: Path, lapis_export: Callable[..., Any]) -> None:
    ended = lapis_export("--verify", hand_made(), tmp_path / "nowhere")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "nowhere: No such file or directory" in ended.err


def test_damaged_pictures_are_named_in_one_line(hand_made: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "bad" / "cut.png")
    (tmp_path / "bad" / "cut.png").write_bytes((tmp_path / "bad" / "cut.png").read_bytes()[:60])
    (tmp_path / "bad" / "words.tif").write_text("no picture")
    command = [sys.executable, "-m", "export", "--verify", str(hand_made()), str(tmp_path / "bad")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "2 of 2 pictures cannot be used" in done.stderr
    assert "cut.png" in done.stderr
    assert "words.tif" in done.stderr
