from __future__ import annotations

import pytest

from export.precision import bounds


def test_largest_difference_can_be_chosen_and_the_mean_stays_bounded() -> None:
    assert bounds("fp32", None).largest == 1
    assert bounds("fp32", 0).largest == 0
    assert bounds("fp32", 200).mean == bounds("fp32", None).mean < 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_coarser_the_arithmetic_the_wider_the_bounds(dtype: str) -> None:
    several = [bounds(precision, None, dtype) for precision in ("fp32", "fp16-weights", "fp16", "int8")]
    assert several == sorted(several, key=lambda b: (b.largest, b.mean))


def test_sixteen_bits_are_held_to_a_fraction_of_a_level() -> None:
    assert bounds("fp32", None, "uint16").largest < 0.5
