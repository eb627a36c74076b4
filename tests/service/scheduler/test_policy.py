from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.scheduler.policy import Capacity, Plan, plan

NEVER = math.inf


@pytest.mark.parametrize(
    ("deadlines", "slots", "max_batch_size", "batch", "expired"),
    [
        pytest.param([], 1, 8, (), (), id="nothing waits"),
        pytest.param([NEVER], 1, 8, (0,), (), id="one alone runs at once"),
        pytest.param([NEVER] * 3, 1, 8, (0, 1, 2), (), id="one slot takes all"),
        pytest.param([NEVER] * 9, 1, 8, tuple(range(8)), (), id="up to the largest batch"),
        pytest.param([NEVER] * 3, 1, 1, (0,), (), id="first come, first served"),
        pytest.param([NEVER] * 4, 2, 8, (0, 1), (), id="two slots share"),
        pytest.param([NEVER] * 5, 2, 8, (0, 1, 2), (), id="the odd one is not left behind"),
        pytest.param([NEVER], 2, 8, (0,), (), id="a share is at least one"),
        pytest.param([9.0, NEVER, 10.0, 10.1], 1, 8, (1, 3), (0, 2), id="too late is too late"),
        pytest.param([9.0], 1, 8, (), (0,), id="only what is too late"),
        pytest.param([9.0, NEVER, NEVER], 2, 8, (1,), (0,), id="the expired count for no share"),
    ],
)
def test_plan_at_ten_seconds(
    deadlines: list[float], slots: int, max_batch_size: int, batch: tuple[int, ...], expired: tuple[int, ...]
) -> None:
    assert plan(deadlines, 10.0, Capacity(slots, max_batch_size)) == Plan(batch, expired)


@given(
    deadlines=st.lists(st.floats(0, 20) | st.just(NEVER), max_size=40),
    slots=st.integers(1, 8),
    max_batch_size=st.integers(1, 16),
)
def test_plan_keeps_every_promise(deadlines: list[float], slots: int, max_batch_size: int) -> None:
    made = plan(deadlines, 10.0, Capacity(slots, max_batch_size))
    alive = [position for position, deadline in enumerate(deadlines) if deadline > 10]
    assert list(made.batch) == alive[: len(made.batch)], "the first that came run first"
    assert sorted({*alive, *made.expired}) == list(range(len(deadlines))), "what is not alive is expired"
    assert bool(made.batch) == bool(alive), "a free slot never idles while someone waits"
    assert len(made.batch) <= max_batch_size


@given(waiting=st.integers(1, 200), slots=st.integers(1, 8))
def test_free_slots_together_take_all_that_waits(waiting: int, slots: int) -> None:
    left = waiting
    for _ in range(slots * 10):
        left -= len(plan([NEVER] * left, 0.0, Capacity(slots, 256)).batch)
    assert left == 0
