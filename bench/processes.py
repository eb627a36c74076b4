"""One client process, or several that begin together and share the load."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from bench.arrivals import constant, poisson
from bench.beside import beside
from bench.clock import MonotonicClock
from bench.connect import connected
from bench.drive import Driver
from bench.errors import BenchError
from bench.orders import OrderBook
from bench.tally import Tally, Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from bench.settings import BenchSettings

# Seconds from when all are ready until the load begins, so that word of it reaches everyone in time.
_NOTICE = 0.2
_LONGEST_STOP = 10.0


def window_of(settings: BenchSettings) -> Window:
    """Returns the seconds of a load that are measured."""
    return Window(settings.warmup, settings.warmup + settings.seconds)


async def alone(settings: BenchSettings, stop: asyncio.Event) -> Tally:
    """Puts all of the load on the server from this process."""
    book = OrderBook(settings, _seeded("orders", settings, 0))
    async with connected(settings) as caller:
        clock = MonotonicClock(time.monotonic() + _NOTICE)
        tally = Tally(window_of(settings))
        driver = Driver(caller, book.draw, clock, tally, stop, settings.drain)
        await _drive(driver, settings, 0)
    return tally


async def together(settings: BenchSettings, stop: asyncio.Event) -> Tally:
    """Puts the load on the server from several processes, each its share; raises BenchError where one fails."""
    return await asyncio.to_thread(_together, settings, stop)


def _together(settings: BenchSettings, stop: asyncio.Event) -> Tally:
    tally = Tally(window_of(settings))
    with ExitStack() as stack:
        children = [stack.enter_context(_Child(settings, number)) for number in range(settings.processes)]
        for child in children:
            child.receive()
        start = time.monotonic() + _NOTICE
        for child in children:
            child.pipe.send(start)
        for child in children:
            while not child.pipe.poll(0.1):
                if stop.is_set():
                    child.stop()
            tally.merge(child.receive())
    return tally


class _Child:
    """A process with its share of the load: it says when it is ready, is told when to start, and sends its tally."""

    def __init__(self, settings: BenchSettings, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, self._end = context.Pipe()
        self._told = False
        self._process: BaseProcess = context.Process(target=_work, args=(self._end, settings, number), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._end.close()
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self._process.join(_LONGEST_STOP)
        if self._process.is_alive():
            self._process.kill()

    def receive(self) -> Tally:
        """Returns what the process sends next, its tally in the end; raises BenchError where it cannot go on."""
        try:
            message: Tally | BenchError = self.pipe.recv()
        except EOFError as error:
            raise BenchError("a client process ended before its time") from error
        if isinstance(message, BenchError):
            raise message
        return message

    def stop(self) -> None:
        """Tells the process to send no more calls."""
        if not self._told:
            self._told = True
            self.pipe.send("stop")


def _work(pipe: Connection, settings: BenchSettings, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then tells us
    try:
        pipe.send(asyncio.run(_share(pipe, settings, number)))
    except BenchError as error:
        pipe.send(error)


async def _share(pipe: Connection, settings: BenchSettings, number: int) -> Tally:
    book = OrderBook(settings, _seeded("orders", settings, number))
    stop = asyncio.Event()
    async with connected(settings) as caller:
        pipe.send(None)
        clock = MonotonicClock(await asyncio.to_thread(pipe.recv))
        asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
        tally = Tally(window_of(settings))
        driver = Driver(caller, book.draw, clock, tally, stop, settings.drain)
        await _drive(driver, settings, number)
        asyncio.get_running_loop().remove_reader(pipe.fileno())
    return tally


async def _drive(driver: Driver, settings: BenchSettings, number: int) -> None:
    """Drives one process's share of the load, and measures what that costs."""
    cpu, began = time.process_time(), time.monotonic()
    async with beside(driver.pulse()):
        if settings.is_open:
            await driver.open_loop(_arrivals(settings, number), settings.max_outstanding)
        else:
            callers, over = divmod(settings.concurrency, settings.processes)
            await driver.closed_loop(callers + (number < over))
    driver.tally.cpu_seconds = time.process_time() - cpu
    driver.tally.wall_seconds = time.monotonic() - began


def _arrivals(settings: BenchSettings, number: int) -> Iterator[float]:
    """Returns one process's share of the arrivals: those of all processes together are again as the settings say."""
    rate = settings.rate / settings.processes
    if settings.load == "poisson":
        return poisson(rate, _seeded("arrivals", settings, number))
    return constant(rate, number / settings.processes)


def _seeded(purpose: str, settings: BenchSettings, number: int) -> random.Random:
    """Returns chance that is the same again for the same seed, and another for each purpose and process."""
    return random.Random(f"{purpose} {settings.seed} {number}")  # noqa: S311 (nothing here is secret)
