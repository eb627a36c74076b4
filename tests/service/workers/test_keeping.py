from __future__ import annotations

import pytest

from service.workers.keeping import FIRST_PAUSE, GIVE_UP, LONGEST_PAUSE, STEADY, Keeping


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeping(clock: Clock) -> Keeping:
    return Keeping(clock)


def test_pause_doubles_with_each_death_up_to_the_longest(keeping: Keeping) -> None:
    pauses = [keeping.died() for _ in range(100)]
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_process_that_was_steady_is_replaced_at_once(keeping: Keeping, clock: Clock) -> None:
    for _ in range(8):
        keeping.died()
    keeping.became_ready()
    clock.now += STEADY
    assert keeping.died() == FIRST_PAUSE


def test_process_that_dies_soon_after_it_was_ready_is_replaced_later_and_later(keeping: Keeping, clock: Clock) -> None:
    pauses = []
    for _ in range(4):
        keeping.became_ready()
        clock.now += STEADY - 1
        pauses.append(keeping.died())
    assert pauses == sorted(set(pauses))
    assert not keeping.is_hopeless


def test_recovering_does_not_make_a_process_younger(keeping: Keeping, clock: Clock) -> None:
    keeping.died()
    keeping.became_ready()
    clock.now += STEADY
    keeping.became_ready()
    assert keeping.died() == FIRST_PAUSE


def test_place_is_hopeless_when_none_was_ready(keeping: Keeping) -> None:
    for _ in range(GIVE_UP - 1):
        keeping.died()
    assert not keeping.is_hopeless
    keeping.died()
    assert keeping.is_hopeless
    keeping.became_ready()
    assert not keeping.is_hopeless
    assert keeping.deaths == GIVE_UP
