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
from export.proof import open_session, prove_contract, prove_rows, prove_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pictures = NDArray[np.uint8]

SPEC = PictureSpec.of(4, 4, 3)
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


def test_equal_pictures_pass_and_the_figures_are_told(pictures: Pictures) -> None:
    parity = prove_values(open_session(brighter()), pictures, pictures, EXACT)
    assert (parity.pictures, parity.max_difference, parity.mean_difference) == (3, 0, 0.0)
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


def test_other_shape_than_pytorchs_is_refused(pictures: Pictures) -> None:
    with pytest.raises(ShapesDiffer, match=r"uint8 \[3, 4, 4, 3\], PyTorch uint8 \[3, 4, 4, 1\]"):
        prove_values(open_session(brighter()), pictures, pictures[..., :1], EXACT)


def test_rows_that_stand_alone_pass(pictures: Pictures) -> None:
    proven = prove_rows(lambda batch: 255 - batch, pictures, (1, 2, 5))
    assert (proven.batch_sizes, proven.max_difference) == ((1, 2, 5), 0)


def normalised_over_the_batch(batch: Pictures) -> Pictures:
    return (batch - batch.mean(axis=(0, 1, 2)) + 128).clip(0, 255).astype(np.uint8)


def last_row_of_three_is_wrong(batch: Pictures) -> Pictures:
    translated = batch.copy()
    translated[2:] ^= 1
    return translated


def first_of_several_is_wrong(batch: Pictures) -> Pictures:
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


def test_broken_file_is_refused() -> None:
    with pytest.raises(ProofError, match="cannot load the model"):
        open_session(b"no model")


def test_device_that_is_not_there_is_not_replaced_in_silence() -> None:
    try:
        session = open_session(brighter(), "cuda")
    except OptionError as error:
        assert str(error).startswith("--device cuda: ")  # noqa: PT017 (a machine with a GPU raises nothing)
    else:
        assert session.get_providers()[0] == "CUDAExecutionProvider"
