"""What `lapis-bench` does with its settings."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from bench import report, summary
from bench.beside import beside
from bench.load import Measured, measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.settings import BenchSettings

FAILED = 1
INTERRUPTED = 130


def bench(settings: BenchSettings) -> int:
    """Measures, prints and writes; returns the exit code. Raises BenchError."""
    # What cannot be written is better known before the load than after it.
    for path in filter(None, (settings.output, settings.plot)):
        path.parent.mkdir(parents=True, exist_ok=True)
    draw = _plot() if settings.plot else None
    measured = asyncio.run(_until_done_or_stopped(settings))
    figures = report.figures(measured)
    print(summary.text(figures))
    if settings.output:
        settings.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if settings.plot and draw:
        draw(measured, settings.plot)
    return INTERRUPTED if measured.interrupted else exit_code(figures)


def _plot() -> Callable[[Measured, Path], None]:
    """Returns what draws; to import it takes longer than many a load."""
    from bench.plot import plot  # noqa: PLC0415

    return plot


def exit_code(figures: dict[str, Any]) -> int:
    """Returns 1 where calls failed or none was answered; refusals and deadlines are what a load is about."""
    calls = figures["calls"]
    return FAILED if calls["failed"] or calls["unsent"] or not calls["good"] + calls["late"] else 0


async def _until_done_or_stopped(settings: BenchSettings) -> Measured:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, _stop_once, stop)
    async with beside(_show_progress(settings.warmup + settings.seconds)):
        return await measure(settings, stop)


def _stop_once(stop: asyncio.Event) -> None:
    """Ends the load in order at the first Ctrl-C, and at once at the second."""
    stop.set()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


async def _show_progress(seconds: float) -> None:
    form = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s"
    with tqdm(total=seconds, file=sys.stderr, disable=None, leave=False, bar_format=form) as bar:
        while True:
            await asyncio.sleep(1)
            bar.update(min(1, seconds - bar.n))
