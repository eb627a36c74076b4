"""At 0.7 of its capacity a server answers nearly as fast as when it has nothing else to do."""

from __future__ import annotations

import random
from heapq import heapreplace
from typing import TYPE_CHECKING, Any

from bench import report
from bench.arrivals import poisson
from bench.histogram import Histogram
from bench.plot import compare
from bench.proof.claim import Claim, Proof
from bench.proof.loads import capacity, load, merged
from bench.proof.server import lapis_serve

if TYPE_CHECKING:
    from bench.load import Measured
    from bench.proof.server import ServerProcess
    from bench.proof.settings import ProofSettings

SHARE = 0.7
MOST = 2.5
# Random arrivals queue by chance, whoever serves them: at 0.7, before two lanes, the ideal is a p99 of 4 service times.
MOST_OVER_IDEAL = 1.25


def prove(settings: ProofSettings) -> Proof:
    """Lets an idle server, and one with even and with random arrivals, take turns."""
    taken: dict[str, list[Measured]] = {}
    with lapis_serve(settings.models, settings.flags("--devices cpu --cpu-mode throughput")) as server:
        for _ in range(settings.turns()):
            for name, measured in _turn(settings, server).items():
                taken.setdefault(name, []).append(measured)
    spreads = {name: merged(one.tally.all_latency for one in turns) for name, turns in taken.items()}
    idle = spreads["unloaded"]
    ratios = {name: spreads[name].percentile(0.99) / idle.percentile(0.99) for name in ("constant", "poisson")}
    lanes = _lanes(taken["poisson"][0])
    ideal = ideal_p99(SHARE, lanes)
    over = f"p99 at {SHARE} of capacity over the unloaded p99"
    claims = [
        Claim.at_most(f"{over}, even arrivals", ratios["constant"], MOST),
        Claim.told(f"{over}, random arrivals", ratios["poisson"]),
        Claim.at_most("the latter over that of an ideal queue", ratios["poisson"] / ideal, MOST_OVER_IDEAL),
    ]
    figures: dict[str, Any] = {
        "latency": {name: report.spread(spread) for name, spread in spreads.items()},
        "lanes": lanes,
        "ideal_queue": {
            "p99_over_service_time": round(ideal, 2),
            "what": "first come, first served; runs of one picture, all as long; random arrivals; as many lanes",
        },
    }
    return Proof(claims, figures, draw=lambda path: compare(spreads, path, f"latency at {SHARE} of capacity"))


def _turn(settings: ProofSettings, server: ServerProcess) -> dict[str, Measured]:
    seconds = settings.load_seconds()
    able = capacity(server, settings.callers, seconds / 2)
    return {
        "unloaded": load("unloaded", server, concurrency=1, seconds=seconds, warmup=1),
        "constant": load("constant", server, load="constant", rate=SHARE * able, seconds=seconds),
        "poisson": load("poisson", server, load="poisson", rate=SHARE * able, seconds=seconds),
    }


def _lanes(measured: Measured) -> int:
    series = measured.watched.series if measured.watched else {}
    return int((series.get("lapis_engine_lanes") or [1.0])[-1])


def ideal_p99(share: float, lanes: int, calls: int = 200_000) -> float:
    """Returns the p99 latency, in service times, of an ideal queue before lanes that are busy for a share of the time.

    What random arrivals alone make of latency: no server that runs pictures one by one in that order can do better.
    """
    spread, free = Histogram(), [0.0] * lanes
    arrivals = poisson(share * lanes, random.Random(0))  # noqa: S311 (a simulation)
    for _ in range(calls):
        due = next(arrivals)
        done = max(free[0], due) + 1
        heapreplace(free, done)
        spread.add(done - due)
    return spread.percentile(0.99)
