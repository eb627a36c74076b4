from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from export.data import holds_pairs, load_inputs, load_pairs, read_inputs
from export.errors import PicturesError
from export.metadata import Direction, PictureSpec, Samples

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RGB = PictureSpec.of(8, 8, 3)
GREY = PictureSpec.of(8, 8, 1)


def noise(*shape: int, dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def save(path: Path, picture: NDArray[Any]) -> None:
    """Writes with OpenCV, whatever the bits; colours are given as RGB(A)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(picture.shape[2])
    assert cv2.imwrite(str(path), picture[..., order] if order else picture)


def test_flat_folder_holds_inputs(tmp_path: Path) -> None:
    pictures = noise(3, 8, 8, 3)
    for name, picture in zip("cab", pictures, strict=True):
        save(tmp_path / f"{name}.png", picture)
    (tmp_path / "notes.txt").write_text("no picture")
    names, loaded = read_inputs(tmp_path, RGB, direction="AtoB")
    assert names == ["a", "b", "c"]
    np.testing.assert_array_equal(loaded, pictures[[1, 2, 0]])


def test_single_file_is_enough(tmp_path: Path) -> None:
    save(tmp_path / "cat.png", noise(8, 8, 3))
    assert load_inputs(tmp_path / "cat.png", RGB, direction="AtoB").shape == (1, 8, 8, 3)


def test_pictures_are_spread_over_their_names_and_stretched(tmp_path: Path) -> None:
    for index in range(10):
        save(tmp_path / f"{index}.png", np.full((20, 30, 3), index, np.uint8))
    loaded = load_inputs(tmp_path, RGB, direction="AtoB", most=4)
    assert loaded[:, 0, 0, 0].tolist() == [0, 3, 6, 9]
    assert loaded.shape == (4, 8, 8, 3)


@pytest.mark.parametrize(("direction", "half"), [("AtoB", 0), ("BtoA", 1)])
def test_side_by_side_pictures_are_told_by_their_shape(tmp_path: Path, direction: Direction, half: int) -> None:
    A, B = noise(2, 8, 8, 3)
    save(tmp_path / "pair.png", np.concatenate([A, B], axis=1))
    assert holds_pairs(tmp_path, RGB)
    np.testing.assert_array_equal(load_inputs(tmp_path, RGB, direction=direction)[0], (A, B)[half])
    inputs, targets = load_pairs(tmp_path, RGB, RGB, direction=direction)
    np.testing.assert_array_equal(inputs[0], (A, B)[half])
    np.testing.assert_array_equal(targets[0], (B, A)[half])


def test_wide_pictures_of_a_wide_model_are_no_pairs(tmp_path: Path) -> None:
    save(tmp_path / "street.png", noise(8, 16, 3))
    wide = PictureSpec.of(8, 16, 3)
    assert not holds_pairs(tmp_path, wide)
    assert load_inputs(tmp_path, wide, direction="AtoB").shape == (1, 8, 16, 3)


def test_a_panorama_among_others_is_not_cut_in_half(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise(8, 16, 3))
    save(tmp_path / "b.png", noise(8, 8, 3))
    assert not holds_pairs(tmp_path, RGB)


@pytest.mark.parametrize(
    ("splits", "taken"), [(("train", "val", "test"), "val"), (("train", "test"), "test"), (("train",), "train")]
)
@pytest.mark.parametrize("layout", ["inside", "outside"])
def test_held_out_split_is_taken(tmp_path: Path, splits: tuple[str, ...], taken: str, layout: str) -> None:
    for level, split in enumerate(splits):
        for side in "AB":
            folder = tmp_path / split / side if layout == "inside" else tmp_path / side / split
            save(folder / "cat.png", np.full((8, 8, 3), level * 10 + (side == "B"), np.uint8))
    inputs, targets = load_pairs(tmp_path, RGB, RGB, direction="AtoB")
    expected = splits.index(taken) * 10
    assert (inputs[0, 0, 0, 0], targets[0, 0, 0, 0]) == (expected, expected + 1)
    assert load_inputs(tmp_path, RGB, direction="BtoA")[0, 0, 0, 0] == expected + 1


def test_pairs_of_different_channels_are_read_as_training_reads_them(tmp_path: Path) -> None:
    A, B = np.repeat(noise(8, 8, 1), 3, axis=2), noise(8, 8, 3, seed=1)
    save(tmp_path / "val" / "pair.png", np.concatenate([A, B], axis=1))
    inputs, targets = load_pairs(tmp_path, GREY, RGB, direction="AtoB")
    np.testing.assert_array_equal(inputs[0], A[..., :1])
    np.testing.assert_array_equal(targets[0], B)


def test_pictures_without_partners_are_all_named(tmp_path: Path) -> None:
    for name in ("A/one", "A/two", "B/one", "B/three"):
        save(tmp_path / f"{name}.png", noise(8, 8, 3))
    with pytest.raises(PicturesError, match=r"two\.png has no partner in B; .*three\.png has no partner in A"):
        load_pairs(tmp_path, RGB, RGB, direction="AtoB")


def test_inputs_need_no_targets(tmp_path: Path) -> None:
    save(tmp_path / "A" / "cat.png", noise(8, 8, 3))
    assert len(load_inputs(tmp_path, RGB, direction="AtoB")) == 1
    with pytest.raises(PicturesError, match="holds no pictures in B"):
        load_inputs(tmp_path, RGB, direction="BtoA")


def test_colour_pictures_are_their_own_targets_for_colourisation(tmp_path: Path) -> None:
    save(tmp_path / "cat.png", noise(8, 8, 3))
    assert holds_pairs(tmp_path, RGB, lab=True)
    inputs, targets = load_pairs(tmp_path, RGB, RGB, direction="AtoB", lab=True)
    np.testing.assert_array_equal(inputs, targets)


def test_sixteen_bits_stay_where_the_model_takes_them(tmp_path: Path) -> None:
    picture = noise(8, 8, 3, dtype="uint16")
    save(tmp_path / "deep.png", picture)
    deep = PictureSpec.of(8, 8, 3, dtype="uint16")
    np.testing.assert_array_equal(load_inputs(tmp_path, deep, direction="AtoB")[0], picture)
    np.testing.assert_array_equal(load_inputs(tmp_path, RGB, direction="AtoB")[0], np.rint(picture / 257))


def test_eight_bits_become_sixteen_without_loss(tmp_path: Path) -> None:
    picture = noise(8, 8, 3)
    save(tmp_path / "plain.png", picture)
    deep = PictureSpec.of(8, 8, 3, dtype="uint16")
    np.testing.assert_array_equal(load_inputs(tmp_path, deep, direction="AtoB")[0] / 257, picture)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_four_channels_come_from_png_files(tmp_path: Path, dtype: Samples) -> None:
    picture = noise(8, 8, 4, dtype=dtype)
    save(tmp_path / "a.png", picture)
    spec = PictureSpec.of(8, 8, 4, dtype=dtype)
    np.testing.assert_array_equal(load_inputs(tmp_path, spec, direction="AtoB")[0], picture)


def test_two_channels_come_from_grey_pictures_with_transparency(tmp_path: Path) -> None:
    picture = noise(8, 8, 2)
    Image.fromarray(picture, "LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_inputs(tmp_path, PictureSpec.of(8, 8, 2), direction="AtoB")[0], picture)


def test_transparency_lies_over_white_where_colours_are_wanted(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.dstack([noise(8, 8, 3), np.zeros((8, 8), np.uint8)]))
    assert (load_inputs(tmp_path, RGB, direction="AtoB") == 255).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("channels", "dtype"), [(2, "uint8"), (5, "uint8"), (13, "uint16")])
def test_any_number_of_channels_comes_from_tiff_files(
    tmp_path: Path, planar: str, channels: int, dtype: Samples
) -> None:
    picture = noise(8, 12, channels, dtype=dtype)
    stored = picture if planar == "contig" else picture.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar)
    spec = PictureSpec.of(8, 12, channels, dtype=dtype)
    np.testing.assert_array_equal(load_inputs(tmp_path, spec, direction="AtoB")[0], picture)


def test_any_number_of_channels_comes_from_arrays(tmp_path: Path) -> None:
    for side, channels in (("A", 5), ("B", 2)):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "field.npy", noise(16, 16, channels))
    inputs, targets = load_pairs(tmp_path, PictureSpec.of(8, 8, 5), PictureSpec.of(8, 8, 2), direction="AtoB")
    assert (inputs.shape, targets.shape) == ((1, 8, 8, 5), (1, 8, 8, 2))


def test_arrays_may_stand_beside_pictures(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    np.save(tmp_path / "A" / "field.npy", noise(8, 8))
    save(tmp_path / "B" / "field.png", noise(8, 8, 3))
    inputs, targets = load_pairs(tmp_path, GREY, RGB, direction="AtoB")
    assert (inputs.shape, targets.shape) == ((1, 8, 8, 1), (1, 8, 8, 3))


def test_all_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    save(tmp_path / "good.png", noise(8, 8, 3))
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.jpg").write_text("no picture")
    np.save(tmp_path / "real.npy", np.zeros((8, 8, 3)))
    np.save(tmp_path / "thin.npy", noise(8, 8, 2))
    with pytest.raises(PicturesError) as caught:
        load_inputs(tmp_path, RGB, direction="AtoB")
    told = str(caught.value)
    assert "\n" not in told
    for name in ("empty.png", "words.jpg", "real.npy: holds float64"):
        assert name in told
    assert "good.png" not in told


def test_array_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(8, 8, 3))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole.replace(b"(8, 8, 3), }         ", b"(900000, 900000, 3), }")[: len(whole)])
    with pytest.raises(PicturesError, match=r"a\.npy"):
        load_inputs(tmp_path, RGB, direction="AtoB")


def test_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(PicturesError, match="no NumPy array of numbers"):
        load_inputs(tmp_path, RGB, direction="AtoB")


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "a.png"])
def test_other_channel_counts_of_damaged_files_are_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"II*\0 nothing that could be a picture")
    with pytest.raises(PicturesError, match=name):
        load_inputs(tmp_path, PictureSpec.of(8, 8, 5), direction="AtoB")


def test_wrong_number_of_channels_is_told(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise(8, 8, 3))
    with pytest.raises(PicturesError, match=r"a\.png: has 3 channels, 5 are wanted"):
        load_inputs(tmp_path, PictureSpec.of(8, 8, 5), direction="AtoB")


def test_nothing_there_is_told(tmp_path: Path) -> None:
    for place, expected in ((tmp_path / "nowhere", "No such file"), (tmp_path, "holds no pictures")):
        with pytest.raises(PicturesError, match=expected):
            load_inputs(place, RGB, direction="AtoB")
