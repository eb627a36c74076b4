"""How many replicas a load needs: from what a replica was recorded to cost, and the share of it that is to be busy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.scaling.costs import Costs


def replicas(costs: Costs, rate: float, target: float) -> int:
    """Returns the replicas that keep their lanes busy no more than the target at so many pictures a second."""
    return max(1, math.ceil(rate / (costs.rate * target) - 1e-9))


def waits(costs: Costs, rate: float, count: int) -> float:
    """Returns the mean seconds that a call waits for the engine where calls come at random.

    Of the M/M/c queue with a replica's lanes as its servers (Erlang's C formula), halved because runs of one size take
    the same time each; infinite where the replicas cannot keep up.
    """
    servers, offered = costs.lanes, rate / count * costs.run / costs.batch
    if offered >= servers:
        return math.inf
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    full = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return full / (sum(terms) + full) * costs.run / costs.batch / (servers - offered) / 2


def table(costs: Costs, rates: Sequence[float], target: float) -> str:
    """Returns the sizing table in Markdown."""
    lines = ["| pictures/s | replicas | busy | mean wait for the engine |", "|---|---|---|---|"]
    for rate in rates:
        count = replicas(costs, rate, target)
        busy = rate / count / costs.rate
        lines.append(f"| {rate:g} | {count} | {busy:.2f} | {waits(costs, rate, count) * 1000:.0f} ms |")
    return "\n".join(lines)
