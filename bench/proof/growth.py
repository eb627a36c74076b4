"""Whether something grew over time, beyond what it does while a server warms up."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.watch import Watched


def growth(watched: Watched, name: str, warm: float) -> float:
    """Returns by what share a series was higher at the end than when the server was warm.

    That is after the share `warm` (0 to 1) of the time. Medians of a tenth of the samples at either end: one sample may
    catch a moment. NaN where there is no such series.
    """
    values = [value for value in watched.series.get(name, ()) if math.isfinite(value)]
    settled = values[int(warm * len(values)) :]
    if not settled:
        return math.nan
    few = max(1, len(settled) // 10)
    before, after = statistics.median(settled[:few]), statistics.median(settled[-few:])
    return (after - before) / before if before else (math.inf if after else 0.0)
