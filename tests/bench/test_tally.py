from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from lapis.v1 import translation_pb2 as pb

from bench.outcome import OK, Outcome, Reply
from bench.tally import OverTime, Tally, Window

Make = Callable[..., Outcome]


@pytest.fixture
def tally() -> Tally:
    return Tally(Window(1, 11))


def test_goodput_is_what_was_answered_in_time_and_ended_in_the_window(tally: Tally, outcome: Make) -> None:
    for intended, ended in ((0.5, 1.2), (5, 5.5), (5, 6.5), (10.9, 11.3)):  # before, within, late, after
        tally.add(outcome(intended=intended, sent=intended, ended=ended))
    assert tally.ended == {"good": 2, "late": 1}
    assert tally.count("good") == 2  # of those that were due in the window
    assert tally.count("late") == 1


def test_calls_are_counted_by_priority_code_and_reason(tally: Tally, outcome: Make) -> None:
    full = Reply("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    for reply, priority in ((full, "low"), (full, "low"), (Reply(OK), "high")):
        tally.add(outcome(reply, priority=priority))
    assert tally.calls == {
        ("low", "refused", "RESOURCE_EXHAUSTED", "QUEUE_FULL"): 2,
        ("high", "good", "OK", ""): 1,
    }
    assert tally.refusal.total == 2
    assert list(tally.latency) == ["high"]


def test_who_means_to_cancel_and_is_answered_before_says_nothing_of_latency(tally: Tally, outcome: Make) -> None:
    tally.add(outcome(is_cancelling=True))
    assert tally.count("good") == 1
    assert tally.all_latency.total == 0


def test_late_answers_are_counted_with_how_late_they_were(tally: Tally, outcome: Make) -> None:
    tally.add(outcome(ended=2.25))
    assert tally.late_by.most == pytest.approx(0.25)
    assert tally.all_latency.total == 1  # an answer all the same


def test_stages_and_batches_are_read_off_the_answers(tally: Tally, outcome: Make) -> None:
    timings = pb.Timings(queue=Duration(seconds=1, nanos=500_000_000), batch_size=8)
    tally.add(outcome(Reply(OK, "", timings, "m/2", cached=True)))
    assert tally.stages["queue"].most == pytest.approx(1.5)
    assert (tally.batch_sizes, tally.models, tally.cached) == ({8: 1}, {"m/2": 1}, 1)


def test_merging_tallies_is_counting_all_in_one(outcome: Make) -> None:
    timings = pb.Timings(queue=Duration(nanos=1_000_000), batch_size=8)
    calls = [
        outcome(
            Reply(OK, "", timings, f"m/{number % 3}"), ended=1.1 + number / 10, priority=("high", "low")[number % 2]
        )
        for number in range(20)
    ] + [outcome(Reply("RESOURCE_EXHAUSTED", "QUEUE_FULL"))]
    parts, whole = [Tally(Window(1, 11)) for _ in range(3)], Tally(Window(1, 11))
    for number, call in enumerate(calls):
        parts[number % 3].add(call)
        whole.add(call)
    merged = Tally(Window(1, 11))
    for part in parts:
        merged.merge(pickle.loads(pickle.dumps(part)))
    for name in ("calls", "ended", "batch_sizes", "models", "cached"):
        assert getattr(merged, name) == getattr(whole, name)
    assert (merged.all_latency.counts == whole.all_latency.counts).all()
    assert (merged.over_time.ended == whole.over_time.ended).all()
    assert (merged.over_time.latency == whole.over_time.latency).all()
    assert (merged.over_time.due == whole.over_time.due).all()


def test_memory_does_not_grow_with_the_number_of_calls_nor_with_the_time(outcome: Make) -> None:
    day = Tally(Window(0, 86_400))
    day.add(outcome())
    before = len(pickle.dumps(day))
    for number in range(5_000):
        day.add(outcome(intended=number * 17.0, sent=number * 17.0, ended=number * 17.0 + 0.1))
    assert len(pickle.dumps(day)) < before + 5_000
    assert len(day.over_time.due) == 200


def test_bins_are_whole_from_the_start_to_the_end() -> None:
    bins = OverTime(Window(2, 12.5))
    assert len(bins.due) * bins.width == pytest.approx(12.5)
    assert bins.width >= 1
