from __future__ import annotations

from service.edge.allowance import Allowance


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_lines_a_second_are_allowed_and_the_others_counted() -> None:
    clock = Clock()
    allowance = Allowance(10, clock)
    assert sum(allowance.allows() for _ in range(25)) == 10
    assert allowance.fields() == {"unlogged": 15}
    assert allowance.fields() == {}
    clock.now += 0.5
    assert sum(allowance.allows() for _ in range(25)) == 5


def test_quiet_does_not_add_up() -> None:
    clock = Clock()
    allowance = Allowance(10, clock)
    clock.now += 3600
    assert sum(allowance.allows() for _ in range(100)) == 10


def test_lines_below_the_rate_are_all_written() -> None:
    clock = Clock()
    allowance = Allowance(10, clock)
    for _ in range(100):
        clock.now += 0.11
        assert allowance.allows()
    assert allowance.fields() == {}
