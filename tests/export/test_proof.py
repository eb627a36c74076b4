from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.errors import NamesDiffer, OptionError, ProofError, RowsDiffer, ShapesDiffer, ValuesDiffer
from export.metadata import PictureSpec
from export.precision import Bounds
from export.proof import open_session, prove_contract, prove_rows, prove_values, some_seeds, translate_with

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Pictures = NDArray[np.uint8]

SPEC = PictureSpec.of(4, 4, 3)
ANY = PictureSpec.of(8, 8, 3, multiple=4, smallest=4)
EXACT = Bounds(0, 0)


def brighter(
    by: int = 0,
    image: str = "image",
    translation: str = "translation",
    shape: tuple[str | int, ...] = ("N", 4, 4, 3),
    kind: int = TensorProto.UINT8,
) -> bytes:
    """Returns a model that adds `by` levels to every pixel."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    node = helper.make_node("Add", [image, "by"], [translation])
    sides = [helper.make_tensor_value_info(name, kind, shape) for name in (image, translation)]
    graph = helper.make_graph(
        [node], "brighter", sides[:1], sides[1:], [numpy_helper.from_array(np.asarray(by, dtype), "by")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


@pytest.fixture
def pictures() -> Pictures:
    some = np.random.default_rng(0).integers(0, 190, (3, 4, 4, 3), dtype=np.uint8)
    some[-1, 0, 0, 0] = 190
    return some


def test_model_under_the_contract_passes() -> None:
    prove_contract(open_session(brighter()), SPEC, SPEC)


@pytest.mark.parametrize(("names", "found"), [({"image": "input"}, "input"), ({"translation": "output"}, "output")])
def test_other_names_are_refused(names: dict[str, str], found: str) -> None:
    with pytest.raises(NamesDiffer, match=f"are {found}; the contract has"):
        prove_contract(open_session(brighter(**names)), SPEC, SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": ("N", 4, 4, 1)},
        {"shape": ("N", 4, 8, 3)},
        {"shape": (1, 4, 4, 3)},
        {"shape": ("N", "H", "W", 3)},
        {"kind": TensorProto.FLOAT},
    ],
)
def test_other_shapes_and_types_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ShapesDiffer, match=r"the contract has tensor\(uint8\) \[N, 4, 4, 3\]"):
        prove_contract(open_session(brighter(**change)), SPEC, SPEC)  # type: ignore[arg-type]


def test_free_sizes_and_seeds_are_part_of_the_contract(hand_made: Callable[..., Path]) -> None:
    free = open_session(hand_made(given=ANY).read_bytes())
    prove_contract(free, ANY, ANY)
    with pytest.raises(ShapesDiffer, match=r"the contract has tensor\(uint8\) \[N, 8, 8, 3\]"):
        prove_contract(free, PictureSpec.of(8, 8, 3), PictureSpec.of(8, 8, 3))
    with pytest.raises(ShapesDiffer, match=r"the contract has tensor\(uint8\) \[N, H, W, 3\]"):
        prove_contract(open_session(brighter()), ANY, ANY)
    with pytest.raises(NamesDiffer, match="inputs are image; the contract has image, seed"):
        prove_contract(free, ANY, ANY, seeded=True)
    prove_contract(open_session(hand_made(given=ANY, seeded=True).read_bytes()), ANY, ANY, seeded=True)


def test_sixteen_bits_are_part_of_the_contract(hand_made: Callable[..., Path]) -> None:
    deep = PictureSpec.of(4, 4, 3, dtype="uint16")
    session = open_session(hand_made(given=deep).read_bytes())
    prove_contract(session, deep, deep)
    with pytest.raises(ShapesDiffer, match=r"is tensor\(uint16\).*the contract has tensor\(uint8\)"):
        prove_contract(session, SPEC, SPEC)


def test_equal_pictures_pass_and_the_figures_are_told(pictures: Pictures) -> None:
    parity = prove_values(open_session(brighter()), pictures, pictures, EXACT)
    assert (parity.pictures, parity.max_difference, parity.mean_difference, parity.psnr) == (3, 0, 0.0, None)
    assert parity.provider == "CPUExecutionProvider"


@given(by=st.integers(1, 55), darker=st.booleans())
def test_largest_difference_is_found_in_both_directions(by: int, *, darker: bool) -> None:
    pictures = np.random.default_rng(by).integers(0, 200, (2, 4, 4, 3), dtype=np.uint8)
    expected = pictures.copy()
    given_, expected = (expected + np.uint8(by), pictures) if darker else (pictures, expected + np.uint8(by))
    with pytest.raises(ValuesDiffer) as caught:
        prove_values(open_session(brighter()), given_, expected, Bounds(by - 1, 255))
    assert caught.value.largest == by


def test_single_pixel_is_enough_to_refuse(pictures: Pictures) -> None:
    expected = pictures.copy()
    expected[2, 3, 3, 2] += 2
    with pytest.raises(ValuesDiffer, match="by up to 2 levels of 255"):
        prove_values(open_session(brighter()), pictures, expected, Bounds(1, 1))


def test_small_shift_of_all_pixels_is_refused_by_the_mean(pictures: Pictures) -> None:
    with pytest.raises(ValuesDiffer, match="on average"):
        prove_values(open_session(brighter(by=1)), pictures, pictures, Bounds(1, 0.5))


def test_psnr_below_the_bound_is_refused(pictures: Pictures) -> None:
    parity = prove_values(open_session(brighter(by=1)), pictures, pictures, Bounds(1, 1, 48))
    assert parity.psnr == pytest.approx(20 * np.log10(255), abs=0.01)
    with pytest.raises(ValuesDiffer, match=r"\(PSNR 48.13 dB\).*\(PSNR 49 dB\)"):
        prove_values(open_session(brighter(by=1)), pictures, pictures, Bounds(1, 1, 49))


def test_sixteen_bits_differ_by_parts_of_a_level(hand_made: Callable[..., Path]) -> None:
    deep = PictureSpec.of(4, 4, 3, dtype="uint16")
    pictures = np.random.default_rng(0).integers(0, 60000, (2, 4, 4, 3), dtype=np.uint16)
    parity = prove_values(
        open_session(hand_made(given=deep, by=0.5).read_bytes()), pictures, pictures, Bounds(0.501, 1)
    )
    assert parity.max_difference == pytest.approx(0.5, abs=0.003)
    assert parity.mean_difference == pytest.approx(0.5, abs=0.003)


def test_each_picture_is_given_its_own_seed(hand_made: Callable[..., Path], pictures: Pictures) -> None:
    session = open_session(hand_made(given=SPEC, seeded=True).read_bytes())
    seeds = np.array([0, 5, 12], np.int64)
    expected = pictures + seeds.astype(np.uint8)[:, None, None, None]
    assert prove_values(session, pictures, expected, EXACT, seeds).max_difference == 0
    assert prove_rows(translate_with(session), pictures, seeds).max_difference == 0
    with pytest.raises(ValuesDiffer):
        prove_values(session, pictures, expected, EXACT, seeds[::-1].copy())


def test_seeds_are_zero_unless_given(hand_made: Callable[..., Path], pictures: Pictures) -> None:
    translate = translate_with(open_session(hand_made(given=SPEC, seeded=True).read_bytes()))
    np.testing.assert_array_equal(translate(pictures, None), pictures)


def test_seeds_are_always_the_same_and_of_both_signs() -> None:
    seeds = some_seeds(32)
    np.testing.assert_array_equal(seeds[:8], some_seeds(8))
    assert (seeds.min() < -(2**62), seeds.max() > 2**62) == (True, True)


def test_other_shape_than_pytorchs_is_refused(pictures: Pictures) -> None:
    with pytest.raises(ShapesDiffer, match=r"uint8 \[4, 4, 3\], PyTorch uint8 \[4, 4, 1\]"):
        prove_values(open_session(brighter()), pictures, pictures[..., :1], EXACT)


def test_rows_that_stand_alone_pass(pictures: Pictures) -> None:
    proven = prove_rows(lambda batch, _: 255 - batch, pictures, batch_sizes=(1, 2, 5))
    assert (proven.batch_sizes, proven.max_difference) == ((1, 2, 5), 0)


def normalised_over_the_batch(batch: Pictures, _: object) -> Pictures:
    return (batch - batch.mean(axis=(0, 1, 2)) + 128).clip(0, 255).astype(np.uint8)


def last_row_of_three_is_wrong(batch: Pictures, _: object) -> Pictures:
    translated = batch.copy()
    translated[2:] ^= 1
    return translated


def first_of_several_is_wrong(batch: Pictures, _: object) -> Pictures:
    translated = batch.copy()
    if len(batch) > 1 and batch[0, 0, 0, 0] == 190:  # the last of the pictures
        translated[0] ^= 1
    return translated


@pytest.mark.parametrize(
    "translate", [normalised_over_the_batch, last_row_of_three_is_wrong, first_of_several_is_wrong]
)
def test_rows_that_depend_on_their_batch_are_refused(pictures: Pictures, translate: object) -> None:
    with pytest.raises(RowsDiffer, match=r"in a batch of (2|3)") as caught:
        prove_rows(translate, pictures)  # type: ignore[arg-type]
    assert caught.value.largest >= 1


def test_seed_of_a_neighbour_is_noticed(pictures: Pictures) -> None:
    def first_seed_for_all(batch: Pictures, seeds: NDArray[np.int64]) -> Pictures:
        return batch + seeds[0].astype(np.uint8)

    with pytest.raises(RowsDiffer):
        prove_rows(first_seed_for_all, pictures, np.array([0, 1, 2], np.int64))  # type: ignore[arg-type]


def test_difference_that_is_accepted_is_told(pictures: Pictures) -> None:
    assert prove_rows(last_row_of_three_is_wrong, pictures, accepted=1).max_difference == 1


def test_broken_file_is_refused() -> None:
    with pytest.raises(ProofError, match="cannot load the model"):
        open_session(b"no model")


def test_model_that_fails_is_told_in_one_line(pictures: Pictures) -> None:
    with pytest.raises(ProofError, match=r"cannot run the model on \[3, 4, 4, 1\]") as caught:
        translate_with(open_session(brighter()))(pictures[..., :1], None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "provider"), [("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")]
)
def test_device_that_is_not_there_is_not_replaced_in_silence(device: str, provider: str) -> None:
    try:
        session = open_session(brighter(), device)  # type: ignore[arg-type]
    except OptionError as error:
        assert str(error).startswith(f"--device {device}: ")  # noqa: PT017 (a machine with a GPU raises nothing)
    else:
        assert session.get_providers()[0] == provider
