from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from export.behaviour import few_at_size, prove_repeats, prove_seeds, prove_sizes, sizes_to_prove
from export.errors import RunsDiffer, SeedsWrong, ValuesDiffer
from export.metadata import PictureSpec
from export.precision import Bounds
from export.proof import open_session, translate_with
from export.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Pictures = NDArray[np.uint8]

ANY = PictureSpec.of(16, 16, 3, multiple=8, smallest=8)


@pytest.fixture
def pictures() -> Pictures:
    return np.random.default_rng(0).integers(0, 200, (3, 16, 16, 3), dtype=np.uint8)


def test_model_of_one_size_is_proven_at_that_size() -> None:
    assert sizes_to_prove(PictureSpec.of(256, 512, 3)) == [(256, 512)]


@given(
    multiple=st.sampled_from([1, 4, 32, 256]),
    smallest=st.integers(1, 5),
    height=st.integers(0, 4),
    width=st.integers(0, 4),
)
def test_other_sizes_are_ones_that_the_model_takes(multiple: int, smallest: int, height: int, width: int) -> None:
    least = multiple * smallest
    spec = PictureSpec.of(least + height * multiple, least + width * multiple, 3, multiple=multiple, smallest=least)
    sizes = sizes_to_prove(spec)
    assert sizes[0] == (spec.height, spec.width)
    assert len(set(sizes)) == len(sizes) >= 3
    assert any(high != wide for high, wide in sizes)
    assert any(high > spec.height or wide > spec.width for high, wide in sizes)
    assert all(side % multiple == 0 and side >= least for size in sizes for side in size)


def test_richest_pictures_are_made_smaller_or_repeated(pictures: Pictures) -> None:
    pictures[0], pictures[2] = 255, pictures[2] // 2
    np.testing.assert_array_equal(few_at_size(pictures, 20, 40)[:, 16:, 32:], pictures[1:, :4, :8])
    halved = pictures[1:].reshape(2, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(few_at_size(pictures, 8, 8), halved, atol=0.51)
    assert few_at_size(pictures[:1], 8, 24).shape == (1, 8, 24, 3)


class Same(nn.Module):
    """Gives what it takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_every_size_is_held_against_pytorch(hand_made: Callable[..., Path], pictures: Pictures) -> None:
    session = open_session(hand_made(given=ANY).read_bytes())
    translator = Translator(Same(), given=ANY, made=ANY)
    found = prove_sizes(session, translator, pictures, ANY, Bounds(0, 0))
    assert [(one.height, one.width) for one in found] == [(8, 16), (24, 16), (8, 8)]
    assert all(one.parity.max_difference == 0 for one in found)


def test_size_at_which_the_model_is_wrong_is_told(hand_made: Callable[..., Path], pictures: Pictures) -> None:
    class WrongWhenHigh(Same):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + (x.shape[2] > 16)

    session = open_session(hand_made(given=ANY).read_bytes())
    with pytest.raises(ValuesDiffer, match="at 24 x 16 pixels the model differs from PyTorch"):
        prove_sizes(session, Translator(WrongWhenHigh(), given=ANY, made=ANY), pictures, ANY, Bounds(0, 0))


def test_seeds_that_work_pass_and_their_spread_is_told(hand_made: Callable[..., Path], pictures: Pictures) -> None:
    translate = translate_with(open_session(hand_made(given=ANY, seeded=True).read_bytes()))
    assert prove_seeds(translate, pictures[0]) > 1


def test_seeds_without_effect_are_refused(pictures: Pictures) -> None:
    with pytest.raises(SeedsWrong, match="different seeds give the same picture"):
        prove_seeds(lambda batch, _: batch, pictures[0])


def test_seeds_cut_to_32_bits_are_refused(pictures: Pictures) -> None:
    with pytest.raises(SeedsWrong, match="0 and 4294967296"):
        prove_seeds(
            lambda batch, seeds: batch + (seeds % 2**32 % 251).astype(np.uint8)[:, None, None, None], pictures[0]
        )


def counting(pictures: Pictures, _: object, calls: list[None]) -> Pictures:
    calls.append(None)
    return pictures + np.uint8(len(calls))


def test_noise_that_no_seed_chooses_is_refused(pictures: Pictures) -> None:
    calls: list[None] = []
    with pytest.raises(SeedsWrong, match="gives another picture the second time"):
        prove_seeds(lambda batch, seeds: counting(batch, seeds, calls), pictures[0])
    with pytest.raises(RunsDiffer, match="levels of 255 apart from run to run"):
        prove_repeats(lambda batch, seeds: counting(batch, seeds, calls), pictures)


def test_same_pictures_again_pass(pictures: Pictures) -> None:
    assert prove_repeats(lambda batch, _: 255 - batch, pictures) == 0
