from __future__ import annotations

import pytest

from service.telemetry.busy import BusyMeter


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_idle_engine_is_not_busy(clock: Clock) -> None:
    meter = BusyMeter(2, clock=clock)
    assert meter.ratio() == 0.0
    clock.now += 100
    assert meter.ratio() == 0.0


def test_run_under_way_counts(clock: Clock) -> None:
    meter = BusyMeter(2, window=10, clock=clock)
    with meter.running():
        clock.now += 4
        assert meter.ratio() == pytest.approx(0.5)
        with meter.running():
            clock.now += 4
            assert meter.ratio() == pytest.approx(0.75)


def test_what_the_window_has_left_behind_is_forgotten(clock: Clock) -> None:
    meter = BusyMeter(1, window=10, clock=clock)
    with meter.running():
        clock.now += 5
    for _ in range(100):
        clock.now += 0.3
        meter.ratio()
    assert meter.ratio() == 0.0


def test_half_of_a_long_time_is_half(clock: Clock) -> None:
    meter = BusyMeter(1, window=10, clock=clock)
    for _ in range(1000):
        with meter.running():
            clock.now += 0.05
        clock.now += 0.05
    assert meter.ratio() == pytest.approx(0.5, abs=0.05)
