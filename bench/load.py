"""The load itself: who is called, by how many, and what is seen meanwhile."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes
from bench.beside import beside
from bench.connect import check
from bench.watch import Watch, Watched

if TYPE_CHECKING:
    import asyncio

    from bench.settings import BenchSettings
    from bench.tally import Tally


@dataclass(frozen=True)
class Measured:
    """What became of the calls, and what was seen of the servers, which is None where no one looked."""

    settings: BenchSettings
    tally: Tally
    watched: Watched | None
    interrupted: bool


async def measure(settings: BenchSettings, stop: asyncio.Event) -> Measured:
    """Puts the load on the servers until it is over or `stop` is set.

    Raises BenchError when a server does not answer, has no such model, or is not where it is to be watched.
    """
    await check(settings)
    watch = None
    if settings.http_addresses or settings.pids:
        watch = Watch(settings.http_addresses, settings.pids, settings.warmup + settings.seconds)
        await watch.begin()
    share = processes.alone if settings.processes == 1 else processes.together
    async with beside(watch.run()) if watch else nullcontext():
        tally = await share(settings, stop)
    return Measured(settings, tally, await watch.end() if watch else None, stop.is_set())
