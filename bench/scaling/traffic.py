"""Calls per second over time: a day, and a step."""

from __future__ import annotations

import math

DAY = 86_400.0
HOUR = 3_600.0


def daily(now: float, *, least: float, most: float) -> float:
    """Returns the rate of a day: quiet at four in the morning, a climb from seven, a peak at noon and one at eight."""
    hour = now % DAY / HOUR
    noon = math.exp(-(((hour - 12.5) / 2.8) ** 2))
    evening = 0.9 * math.exp(-(((hour - 20.0) / 2.0) ** 2))
    return least + (most - least) * min(1.0, noon + evening)


def step(now: float, *, before: float, factor: float, at: float, until: float) -> float:
    """Returns a rate that is `factor` times as high from `at` until `until`."""
    return before * (factor if at <= now < until else 1.0)
