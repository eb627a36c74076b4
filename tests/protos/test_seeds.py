from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lapis.seeds import parse_seed, parse_seeds

SEEDS = st.integers(-(2**63), 2**63 - 1)


@given(SEEDS)
def test_every_whole_number_of_64_bits_is_a_seed(seed: int) -> None:
    assert parse_seed(str(seed)) == seed
    assert parse_seeds(str(seed)) == (seed,)


@pytest.mark.parametrize("text", ["", "seven", "1.5", " 1", "+1", "1_0", "--1", str(2**63), str(-(2**63) - 1), "٣"])
def test_nothing_else_is(text: str) -> None:
    assert parse_seed(text) is None


@given(st.integers(-(2**63), 2**63 - 1000), st.integers(0, 99))
def test_range_names_both_its_ends_and_all_in_between(first: int, more: int) -> None:
    assert parse_seeds(f"{first}-{first + more}") == tuple(range(first, first + more + 1))


def test_seeds_keep_their_order_and_come_once() -> None:
    assert parse_seeds("9, 1-3,2,9,-2--1") == (9, 1, 2, 3, -2, -1)


@pytest.mark.parametrize("text", ["", ",", "1,", "3-1", "1-", "a-b", f"0-{2**63}", "1;2"])
def test_what_names_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be seeds such as"):
        parse_seeds(text)


def test_endless_range_is_refused_before_it_is_counted_out() -> None:
    with pytest.raises(ValueError, match="names 9,223,372,036,854,775,808 seeds; at most 10,000"):
        parse_seeds(f"0-{2**63 - 1}")
