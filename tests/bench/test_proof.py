"""What the experiments are made of; the experiments themselves take minutes and are run by hand."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from typing import TYPE_CHECKING

import pytest

from bench import report
from bench.errors import BenchError
from bench.load import Measured, measure
from bench.outcome import OK, Reply
from bench.proof.claim import Claim, Proof
from bench.proof.growth import growth
from bench.proof.latency import ideal_p99
from bench.proof.overload import answered_later_than
from bench.proof.priority import share_answered
from bench.proof.server import ServerProcess, copy_model
from bench.tally import Tally, Window
from bench.watch import Watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.outcome import Outcome
    from bench.settings import BenchSettings


def test_claims_are_kept_or_broken_and_say_so() -> None:
    proof = Proof([Claim.at_least("goodput", 0.95, 0.9), Claim.at_most("late", 1, 0)], {"capacity": 40.0})
    assert not proof.kept
    assert proof.text().splitlines() == [
        "kept          0.95  goodput (at least 0.9)",
        "BROKEN           1  late (at most 0)",
    ]
    written = json.loads(json.dumps(proof.as_json("overload")))
    assert (written["scenario"], written["kept"], written["capacity"]) == ("overload", False, 40.0)
    assert [claim["kept"] for claim in written["claims"]] == [True, False]


def test_what_could_not_be_measured_is_no_kept_promise() -> None:
    assert not Claim.at_most("growth", math.nan, 1).kept
    assert not Claim.at_least("goodput", math.nan, 0).kept


@pytest.mark.parametrize(
    ("values", "grown"),
    [
        ([100] * 40, 0.0),
        ([50, 60, 80, 90, *[100] * 36], 0.0),  # it settled
        ([100.0 + number for number in range(40)], 30 / 109),  # it leaks: 109 when warm, 139 in the end
        ([*[100] * 20, 500, *[100] * 19], 0.0),  # a moment
        ([math.nan, *[100] * 20, math.nan], 0.0),
        ([0] * 20, 0.0),
    ],
)
def test_growth_is_what_came_after_the_warm_up_and_stayed(values: list[float], grown: float) -> None:
    watched = Watched(seconds=list(range(len(values))))
    watched.series["rss"] = [float(value) for value in values]
    assert growth(watched, "rss", 0.2) == pytest.approx(grown, rel=0.06)


def test_growth_of_what_no_one_saw_is_unknown() -> None:
    assert math.isnan(growth(Watched(), "rss", 0.2))


def test_answers_later_than_a_deadline_are_read_off_the_server_s_histogram() -> None:
    assert answered_later_than(1.0, {0.5: 10, 1.0: 12, 2.5: 13, math.inf: 15}) == 3


def crommelin(share: float, wait: float) -> float:
    """Returns the probability that who comes at random to a single lane with runs of length 1 waits no longer."""
    terms = ((share * (k - wait)) ** k / math.factorial(k) * math.exp(share * (wait - k)) for k in range(int(wait) + 1))
    return (1 - share) * sum(terms)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_ideal_queue_is_that_of_the_textbook(share: float) -> None:
    assert crommelin(share, ideal_p99(share, 1) - 1) == pytest.approx(0.99, abs=0.002)


def test_ideal_queue_waits_less_before_more_lanes() -> None:
    assert 1 < ideal_p99(0.7, 8, 20_000) < ideal_p99(0.7, 2, 20_000) < ideal_p99(0.7, 1, 20_000)


def test_share_that_is_answered_is_told_by_priority(
    outcome: Callable[..., Outcome], short: Callable[..., BenchSettings]
) -> None:
    tally = Tally(Window(0, 10))
    for reply, priority in ((Reply(OK), "high"), (Reply("UNAVAILABLE"), "high"), (Reply(OK), "low")):
        tally.add(outcome(reply, priority=priority))
    turns = [Measured(short(), tally, None, interrupted=False)] * 2
    assert [share_answered(turns, priority) for priority in ("high", "low")] == [0.5, 1.0]


async def test_echo_answers_a_load(short: Callable[..., BenchSettings]) -> None:
    command = [sys.executable, "-m", "bench.proof.echo", "--workers", "2", "--side", "8"]
    echo = await asyncio.to_thread(ServerProcess(command).start)
    try:
        load = short(server=echo.address, pid=str(echo.pid), pictures="raw:8", answer="raw", connections=8)
        figures = report.figures(await measure(load, asyncio.Event()))
    finally:
        ended = await asyncio.to_thread(echo.stop)
    assert figures["calls"]["good"] == figures["calls"]["offered"] > 10
    assert ended == 0


def test_server_that_does_not_serve_is_told_with_its_last_words() -> None:
    with pytest.raises(BenchError, match="did not serve: no such model"):
        ServerProcess([sys.executable, "-c", "import sys; sys.exit('no such model')"]).start()


def test_model_comes_into_a_repository_at_once(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.onnx").write_bytes(b"model")
    copy_model(tmp_path / "source", tmp_path / "repository" / "m" / "2")
    assert [str(path.relative_to(tmp_path / "repository")) for path in tmp_path.glob("repository/m/*/*")] == [
        "m/2/model.onnx"
    ]
    assert [path.name for path in (tmp_path / "repository" / "m").iterdir()] == ["2"]
