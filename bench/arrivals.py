"""When calls are due, in seconds from the start of the load."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator


def poisson(rate: float, rng: random.Random) -> Iterator[float]:
    """Yields arrivals of callers who know nothing of each other, `rate` a second on average, without end."""
    due = 0.0
    while True:
        due += rng.expovariate(rate)
        yield due


def constant(rate: float, phase: float) -> Iterator[float]:
    """Yields arrivals `1 / rate` apart, the first after the share `phase` (0 to 1) of that, without end."""
    for number in count():
        yield (number + phase) / rate
