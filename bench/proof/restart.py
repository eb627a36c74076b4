"""Two servers are restarted one after the other, again and again, and no call fails."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from bench import report
from bench.beside import beside
from bench.load import Measured, measure
from bench.plot import plot
from bench.proof.claim import Claim, Proof
from bench.proof.loads import capacity, settings_for, tell
from bench.proof.server import lapis_serve

if TYPE_CHECKING:
    from pathlib import Path

    from bench.proof.server import ServerProcess
    from bench.proof.settings import ProofSettings

SHARE = 0.5  # of one server's capacity: the other must be able to do all of it
PAUSE = 2.0
FLAGS = "--devices cpu --instances 1 --cpu-mode throughput"


def prove(settings: ProofSettings) -> Proof:
    """Loads two servers through clients that watch their health, and restarts them meanwhile."""
    flags = settings.flags(FLAGS)
    with lapis_serve(settings.models, flags) as first, lapis_serve(settings.models, flags) as second:
        able = capacity(first, settings.callers, 5)
        roll = Roll(settings.models, flags, [first, second])
        try:
            measured = asyncio.run(_loaded(settings, roll, SHARE * able))
        finally:
            roll.stop()
    tell("rolling restart", measured)
    claims = [
        Claim.at_most("failed calls", measured.tally.count("failed", "unsent"), 0),
        Claim.at_least("restarts", len(roll.exit_codes), 2),
        Claim.at_most("servers that did not end with exit code 0", sum(map(bool, roll.exit_codes)), 0),
    ]
    figures = {"capacity_of_one": able, "restarts": len(roll.exit_codes), "load": report.figures(measured)}
    return Proof(claims, figures, draw=lambda path: plot(measured, path))


class Roll:
    """Servers that are replaced in turn, each by a new one on the same port."""

    def __init__(self, models: Path, flags: list[str], servers: list[ServerProcess]) -> None:
        self._models, self._flags = models, flags
        self.servers = list(servers)
        self.exit_codes: list[int] = []

    def step(self) -> None:
        """Replaces the server that has served longest, and returns when its successor serves."""
        old = self.servers.pop(0)
        port = int(old.address.rpartition(":")[2])
        self.exit_codes.append(old.stop())
        print(f"restarting {old.address}: exit code {self.exit_codes[-1]}", file=sys.stderr, flush=True)
        self.servers.append(lapis_serve(self._models, self._flags, port=port).start())

    def stop(self) -> None:
        """Ends the servers."""
        for server in self.servers:
            server.stop()


async def _loaded(settings: ProofSettings, roll: Roll, rate: float) -> Measured:
    seconds = settings.load_seconds(30)
    bench = settings_for(
        *roll.servers, load="poisson", rate=rate, seconds=seconds, balanced=True, connections=2, deadline="10"
    ).model_copy(update={"http": "", "pid": ""})  # the servers change: there is no one to watch from beginning to end
    ends = time.monotonic() + seconds
    async with beside(_rolling(roll, ends)):
        return await measure(bench, asyncio.Event())


async def _rolling(roll: Roll, ends: float) -> None:
    await asyncio.sleep(PAUSE)
    while time.monotonic() + PAUSE < ends:
        await asyncio.to_thread(roll.step)
        await asyncio.sleep(PAUSE)
