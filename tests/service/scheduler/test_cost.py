from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.scheduler.cost import CostModel
from service.scheduler.kind import USUAL, Kind

LARGE = Kind((1024, 1024), 16.0)


def test_line_tells_the_cost_of_sizes_that_never_ran() -> None:
    costs = CostModel({1: 1.1, 8: 1.8})
    assert (costs.base, costs.per_row) == (pytest.approx(1.0), pytest.approx(0.1))
    assert costs.seconds(4) == pytest.approx(1.4)
    assert costs.seconds(8) == 1.8


def test_best_size_of_a_run_is_the_one_in_which_a_row_takes_least() -> None:
    costs = CostModel({1: 1.1, 4: 1.4, 8: 3.2})
    assert costs.best((1, 4, 8)) == pytest.approx(0.35)
    assert costs.best((1,)) == pytest.approx(1.1)


def test_single_size_is_taken_as_proportional() -> None:
    costs = CostModel({2: 3.0})
    assert (costs.base, costs.per_row, costs.seconds(4)) == (0.0, 1.5, 6.0)


def test_costs_follow_what_is_seen() -> None:
    costs = CostModel({1: 1.0, 8: 8.0})
    for _ in range(50):
        costs.observe(1, 2.0)
    assert costs.seconds(1) == pytest.approx(2.0, rel=0.01)


def test_what_slows_one_size_is_expected_to_slow_the_others() -> None:
    costs = CostModel({1: 1.0, 8: 8.0})
    costs.observe(1, 2.0)
    assert 8.0 < costs.seconds(8) < 16.0


def test_single_interruption_moves_little() -> None:
    costs = CostModel({1: 1.0})
    costs.observe(1, 1000.0)
    assert costs.seconds(1) < 1.5


def test_work_is_what_so_many_rows_take_in_the_largest_runs() -> None:
    costs = CostModel({1: 1.1, 8: 1.8})
    assert costs.work(0, 8) == 0
    assert costs.work(17, 8) == pytest.approx(2 * 1.8 + 1.1)


def test_rows_of_another_kind_cost_as_much_as_their_scale_says_until_they_have_run() -> None:
    costs = CostModel({1: 1.1, 8: 1.8})
    assert costs.seconds(1, LARGE) == pytest.approx(1.0 + 0.1 * 16)
    assert costs.work(3, 2, LARGE) == pytest.approx(1.0 + 0.1 * 32 + 1.0 + 0.1 * 16)


def test_what_a_kind_costs_is_learned_soon_and_leaves_the_others_alone() -> None:
    costs = CostModel({1: 1.0})
    for _ in range(12):
        costs.observe(1, 40.0, LARGE)
    assert costs.seconds(1, LARGE) == pytest.approx(40.0, rel=0.1)
    assert costs.seconds(1) == pytest.approx(1.0, rel=0.25)


def test_kinds_of_like_scale_learn_from_each_other() -> None:
    costs = CostModel({1: 1.0})
    for _ in range(20):
        costs.observe(1, 32.0, LARGE)
    assert costs.seconds(1, Kind((960, 1024), 15.0)) == pytest.approx(30.0, rel=0.1)
    assert costs.seconds(1, Kind((256, 260), 1.02)) == pytest.approx(1.02, rel=0.25), "and not those that are far off"


def test_machine_that_slows_down_slows_all_kinds() -> None:
    costs = CostModel({1: 1.0})
    for _ in range(10):
        costs.observe(1, 16.0, LARGE)
    before = costs.seconds(1)
    for _ in range(10):
        costs.observe(1, 32.0, LARGE)
    assert costs.seconds(1, LARGE) == pytest.approx(32.0, rel=0.2)
    assert costs.seconds(1) > 1.3 * before


def test_few_figures_are_kept_however_many_kinds_come_by() -> None:
    costs = CostModel({1: 1.0})
    for side in range(1, 20_000, 7):
        costs.observe(1, 1.0, Kind((side,), side / 64))
    assert len(costs._factors) < 100


seconds = st.floats(1e-5, 100)


@given(
    measured=st.dictionaries(st.integers(1, 64), seconds, min_size=1, max_size=6),
    runs=st.lists(st.tuples(st.integers(1, 64), seconds, st.sampled_from([USUAL, LARGE])), max_size=30),
    size=st.integers(1, 64),
)
def test_no_run_is_ever_expected_to_be_free(
    measured: dict[int, float], runs: list[tuple[int, float, Kind]], size: int
) -> None:
    costs = CostModel(measured)
    for ran, took, kind in runs:
        costs.observe(ran, took, kind)
    assert costs.seconds(size) > 0
    assert costs.seconds(size, LARGE) > 0
    assert costs.base >= -1e-9
    assert costs.per_row >= 0
