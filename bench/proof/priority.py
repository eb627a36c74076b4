"""Who is in a hurry is served first, however much of low priority waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import report
from bench.plot import compare
from bench.proof.claim import Claim, Proof
from bench.proof.loads import brief, capacity, load, merged
from bench.proof.server import lapis_serve

if TYPE_CHECKING:
    from bench.load import Measured
    from bench.proof.settings import ProofSettings

HIGH, LOW = 0.1, 3.0  # of capacity
FLAGS = "--devices cpu --instances 1 --cpu-mode throughput --max-queue 64"


def prove(settings: ProofSettings) -> Proof:
    """Lets the same flood, with and without priorities, take turns on one server."""
    taken: dict[str, list[Measured]] = {"with": [], "without": []}
    with lapis_serve(settings.models, settings.flags(FLAGS)) as server:
        seconds = settings.load_seconds()
        able = capacity(server, settings.callers, seconds / 2)
        for turn in range(settings.turns()):
            for name, priority in (("with", f"high={HIGH},low={LOW}"), ("without", "normal")):
                measured = load(
                    f"{name} priorities",
                    server,
                    load="poisson",
                    rate=(HIGH + LOW) * able,
                    priority=priority,
                    seconds=seconds,
                    warmup=10,
                    seed=turn,
                )
                taken[name].append(measured)
    return _compared(taken)


def _compared(taken: dict[str, list[Measured]]) -> Proof:
    spreads = {
        "high priority": merged(one.tally.latency["high"] for one in taken["with"]),
        "low priority": merged(one.tally.latency["low"] for one in taken["with"]),
        "no priorities": merged(one.tally.latency["normal"] for one in taken["without"]),
    }
    high, none = spreads["high priority"], spreads["no priorities"]
    answered = {
        "high": share_answered(taken["with"], "high"),
        "low": share_answered(taken["with"], "low"),
        "normal": share_answered(taken["without"], "normal"),
    }
    faster = high.percentile(0.99) / none.percentile(0.99)
    claims = [
        Claim.at_most("p99 of high priority over that without priorities", faster, 0.5),
        Claim.at_least("share of high priority that is answered", answered["high"], 0.99),
    ]
    figures = {
        "offered_over_capacity": {"high": HIGH, "low": LOW},
        "latency": {name: report.spread(spread) for name, spread in spreads.items()},
        "share_answered": answered,
        **{name: [brief(one) for one in turns] for name, turns in taken.items()},
    }
    return Proof(claims, figures, draw=lambda path: compare(spreads, path, "latency under a flood of low priority"))


def share_answered(turns: list[Measured], priority: str) -> float:
    """Returns how many of the calls of a priority were answered, as a share of 1."""
    answered = offered = 0
    for one in turns:
        for (who, verdict, _, _), calls in one.tally.calls.items():
            if who == priority:
                offered += calls
                answered += calls if verdict in {"good", "late"} else 0
    return answered / max(1, offered)
