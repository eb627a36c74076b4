"""Whole loads against a real gRPC server: figures, page and plot."""

from __future__ import annotations

import asyncio
import json
import math
import os
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from bench import report, summary
from bench.command import exit_code
from bench.histogram import Histogram
from bench.load import Measured, measure
from bench.plot import compare, plot
from bench.tally import Tally, Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from bench.outcome import Outcome
    from bench.settings import BenchSettings
    from tests.bench.conftest import Servicer

    Run = Callable[[], AbstractAsyncContextManager[tuple[Servicer, str]]]
    Short = Callable[..., BenchSettings]


async def measured_at(server: Run, settings: Callable[[str], BenchSettings]) -> tuple[Measured, Servicer]:
    async with server() as (servicer, address):
        return await measure(settings(address), asyncio.Event()), servicer


@pytest.mark.parametrize("options", [{}, {"load": "poisson", "rate": 200}, {"load": "constant", "rate": 200}])
@pytest.mark.parametrize("stream", [False, True])
async def test_every_call_is_counted_once(server: Run, short: Short, options: dict[str, Any], stream: bool) -> None:
    measured, servicer = await measured_at(server, lambda address: short(server=address, stream=stream, **options))
    figures = report.figures(measured)
    assert figures["calls"]["offered"] == figures["calls"]["good"] == len(servicer.requests) > 10
    assert figures["latency"]["all"]["calls"] == figures["calls"]["good"]
    assert figures["answered_by"] == {"echo/1": figures["calls"]["good"]}
    assert figures["batch_sizes"] == {"4": figures["calls"]["good"]}
    assert figures["server_stages"]["infer"]["p50"] == pytest.approx(0.03)


async def test_what_comes_before_the_window_warms_up_and_is_not_counted(server: Run, short: Short) -> None:
    measured, servicer = await measured_at(
        server, lambda address: short(server=address, load="constant", rate=100, seconds=0.2, warmup=0.3)
    )
    assert len(servicer.requests) == 50
    assert report.figures(measured)["calls"]["offered"] == 20


async def test_several_processes_share_the_load(server: Run, short: Short) -> None:
    measured, servicer = await measured_at(
        server, lambda address: short(server=address, load="constant", rate=100, seconds=0.5, processes=2)
    )
    figures = report.figures(measured)
    assert figures["calls"]["offered"] == len(servicer.requests) == 50
    assert figures["callers"]["processes"] == 2
    assert figures["callers"]["cpu_seconds"] > 0


async def test_load_that_is_stopped_reports_what_was_measured_until_then(server: Run, short: Short) -> None:
    async with server() as (servicer, address):
        stop = asyncio.Event()
        load = asyncio.ensure_future(measure(short(server=address, seconds=600), stop))
        while len(servicer.requests) < 20:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0)
        stop.set()
        measured = await load
    figures = report.figures(measured)
    assert figures["interrupted"]
    assert figures["calls"]["good"] >= 20
    assert figures["measured_seconds"] < 60
    assert "stopped before its time" in summary.text(figures)


async def test_own_process_is_watched(server: Run, short: Short) -> None:
    measured, _ = await measured_at(server, lambda address: short(server=address, pid=str(os.getpid())))
    seen = report.figures(measured)["server"]
    assert seen["series"]["rss_bytes"][0] > 1e6
    assert seen["series"]["threads"][-1] >= 1
    assert seen["series"]["open_files"][-1] >= 3
    assert seen["cpu_seconds"] > 0


@pytest.fixture
def overloaded(outcome: Callable[..., Outcome], short: Short) -> Measured:
    """Ten seconds of a load with everything in it, by the clock of no one."""
    from bench.outcome import Reply  # noqa: PLC0415

    tally = Tally(Window(0, 10))
    ends = [
        (Reply("OK"), "high", 0.2),
        (Reply("OK"), "low", 0.9),
        (Reply("OK"), "low", 1.5),
        (Reply("RESOURCE_EXHAUSTED", "QUEUE_FULL"), "low", 0.003),
        (Reply("RESOURCE_EXHAUSTED", "DEADLINE_UNREACHABLE"), "low", 0.004),
        (Reply("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"), "low", 1.0),
        (Reply("CANCELLED", "BY_CALLER"), "low", 0.1),
        (Reply("INTERNAL", "INFERENCE_FAILED"), "low", 0.1),
    ]
    for number in range(400):
        reply, priority, took = ends[number % len(ends)]
        due = number / 50
        tally.add(outcome(reply, priority=priority, intended=due, sent=due, ended=due + took))
    tally.lag.add(0.002)
    tally.cpu_seconds, tally.wall_seconds = 1.0, 10.0
    return Measured(short(load="poisson", rate=40), tally, None, interrupted=False)


def test_figures_are_json_and_add_up(overloaded: Measured) -> None:
    figures = json.loads(json.dumps(report.figures(overloaded), allow_nan=False))
    calls = figures["calls"]
    assert calls == {
        "offered": 400,
        "good": 100,
        "late": 50,
        "refused": 100,
        "expired": 50,
        "cancelled": 50,
        "failed": 50,
        "unsent": 0,
    }
    assert figures["rates"]["offered"] == 40
    assert figures["rates"]["goodput"] == 10
    assert figures["rates"]["answered"] == 15
    assert figures["latency"].keys() == {"all", "high", "low"}
    assert figures["latency"]["high"]["p99"] == pytest.approx(0.2, rel=0.01)
    assert figures["time_to_refusal"]["p50"] == pytest.approx(0.003, rel=0.01)
    assert figures["late"] == {"calls": 50, "by_most": pytest.approx(0.5), "by_more_than_the_callers_lag": 50}
    assert {row["reason"]: row["calls"] for row in figures["codes"]}["DEADLINE_UNREACHABLE"] == 50
    assert sum(figures["over_time"]["good"]) * figures["over_time"]["bin_seconds"] == 100
    assert figures["server"] is None


def test_page_tells_the_same_in_words(overloaded: Measured) -> None:
    page = summary.text(report.figures(overloaded))
    assert "goodput         10.0/s  answered in time, of 15.0/s answered" in page
    assert "refused         10.0/s  DEADLINE_UNREACHABLE 50, QUEUE_FULL 50" in page
    assert "failed           5.0/s  INFERENCE_FAILED 50" in page
    assert "late              50    answers after their deadline  by 500 ms at most" in page
    assert "counts from the moment when the call was due" in page


def test_closed_load_says_that_it_tells_service_time(overloaded: Measured, short: Short) -> None:
    closed = Measured(short(), overloaded.tally, None, interrupted=False)
    assert "service time" in summary.text(report.figures(closed))


def test_load_of_which_nothing_came_is_told_all_the_same(short: Short, tmp_path: Path) -> None:
    empty = Measured(short(), Tally(Window(0, 1)), None, interrupted=False)
    figures = report.figures(empty)
    assert "no call was answered" in summary.text(figures)
    assert figures["latency"]["all"]["p50"] is None
    assert exit_code(figures) == 1
    plot(empty, tmp_path / "empty.png")
    assert colours(tmp_path / "empty.png")


def test_failed_calls_are_an_exit_code_and_refused_ones_are_not(overloaded: Measured) -> None:
    figures = report.figures(overloaded)
    assert exit_code(figures) == 1
    figures["calls"]["failed"] = 0
    assert exit_code(figures) == 0


def test_callers_who_were_behind_are_not_to_be_believed(overloaded: Measured) -> None:
    assert report.kept_up(overloaded.tally, 1)
    overloaded.tally.cpu_seconds = 9.5
    assert not report.kept_up(overloaded.tally, 1)
    assert report.kept_up(overloaded.tally, 2)


def test_plot_shows_what_there_is(overloaded: Measured, tmp_path: Path) -> None:
    plot(overloaded, tmp_path / "figure.png")
    # The lines' own colours: goodput, refusals, p50.
    assert {(0x2A, 0x7F, 0x62), (0xD9, 0x8E, 0x04), (0x1F, 0x5F, 0xA8)} <= colours(tmp_path / "figure.png")


def test_loads_are_compared_in_one_plot(tmp_path: Path) -> None:
    spreads = {"calm": Histogram(), "busy": Histogram(), "empty": Histogram()}
    for number in range(1000):
        spreads["calm"].add(0.01 + number * 1e-6)
        spreads["busy"].add(0.01 + number * 1e-3)
    compare(spreads, tmp_path / "figure.png", "two loads")
    assert {(0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)} <= colours(tmp_path / "figure.png")


def colours(path: Path) -> set[tuple[int, ...]]:
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) > 400
    return set(map(tuple, np.unique(picture.reshape(-1, 3)[:, ::-1], axis=0).tolist()))


def test_nan_is_no_json() -> None:
    assert report._without_nan({"a": [math.nan, 1.5], "b": math.inf}) == {"a": [None, 1.5], "b": None}
