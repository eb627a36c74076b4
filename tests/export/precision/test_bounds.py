from __future__ import annotations

import pytest

from export.precision import bounds


def test_largest_difference_can_be_chosen() -> None:
    assert bounds("fp32", None).largest == 1
    assert bounds("fp32", 0).largest == 0


def test_a_closer_bound_leaves_the_others_and_a_wider_one_lifts_them() -> None:
    usual = bounds("int8", None)
    assert bounds("int8", 20) == usual._replace(largest=20)
    assert (bounds("int8", 200).mean, bounds("int8", 200).psnr) == (200, 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_coarser_the_arithmetic_the_wider_the_bounds(dtype: str) -> None:
    several = [bounds(precision, None, dtype) for precision in ("fp32", "fp16-weights", "fp16", "int8")]
    assert several == sorted(several, key=lambda b: (b.largest, b.mean))


def test_sixteen_bits_are_held_to_a_fraction_of_a_level() -> None:
    assert bounds("fp32", None, "uint16").largest < 0.5
