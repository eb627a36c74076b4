from __future__ import annotations

import math
import random
from itertools import islice, pairwise, takewhile

import pytest

from bench.arrivals import constant, poisson


def within(arrivals: object, seconds: float) -> list[float]:
    return list(takewhile(lambda due: due < seconds, arrivals))


@pytest.mark.parametrize("rate", [0.5, 40.0, 2000.0])
def test_random_arrivals_have_the_rate(rate: float) -> None:
    expected = 10_000
    arrived = len(within(poisson(rate, random.Random(1)), expected / rate))
    assert abs(arrived - expected) < 4 * math.sqrt(expected)


def test_random_arrivals_know_nothing_of_each_other() -> None:
    gaps = [later - due for due, later in pairwise(islice(poisson(10, random.Random(2)), 20_000))]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation / mean == pytest.approx(1, abs=0.05)  # of an exponential distribution


def test_random_arrivals_are_the_same_for_the_same_seed_alone() -> None:
    first, again, other = (list(islice(poisson(5, random.Random(seed)), 50)) for seed in ("a", "a", "b"))
    assert first == again
    assert first != other


def test_even_arrivals_of_several_processes_are_even_together() -> None:
    together = sorted(due for process in range(4) for due in within(constant(25, process / 4), 2))
    assert together == pytest.approx([number / 100 for number in range(200)])
