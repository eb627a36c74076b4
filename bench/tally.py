"""All that is kept of the calls: counts and histograms, however many calls there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, get_args

import numpy as np

from bench.histogram import SIZE, Histogram, bucket_of
from bench.outcome import UNSENT, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.outcome import Outcome

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
STAGES = ("decode", "queue", "infer", "encode")
_COLUMN = {verdict: column for column, verdict in enumerate(VERDICTS)}
_MOST_BINS = 200


@dataclass(frozen=True)
class Window:
    """The part of a load that is measured, in seconds from its start: what comes before `begin` warms up."""

    begin: float
    end: float

    def holds(self, moment: float) -> bool:
        """Tells whether a moment is measured."""
        return self.begin <= moment < self.end


class OverTime:
    """Calls by when they ended, and by when they were due, in equal bins from the start of the load to its end.

    A bin is a second wide, or more where that would make more than 200 of them.
    """

    def __init__(self, window: Window) -> None:
        bins = max(1, min(_MOST_BINS, int(window.end)))
        self.width = window.end / bins
        self.due = np.zeros(bins, np.int64)
        self.ended = np.zeros((bins, len(VERDICTS)), np.int64)
        self.latency = np.zeros((bins, SIZE), np.int32)

    def add(self, outcome: Outcome, verdict: Verdict) -> None:
        """Counts one call in; what ends after the load is left out."""
        self.due[min(int(outcome.intended / self.width), len(self.due) - 1)] += 1
        place = int(outcome.ended / self.width)
        if place < len(self.due):
            self.ended[place, _COLUMN[verdict]] += 1
            if verdict in {"good", "late"}:
                self.latency[place, bucket_of(outcome.latency)] += 1

    def column(self, verdict: Verdict) -> NDArray[np.int64]:
        """Returns how many calls ended so, int64 [bins]."""
        return self.ended[:, _COLUMN[verdict]]

    def merge(self, other: Self) -> None:
        """Counts in what the other has counted."""
        self.due += other.due
        self.ended += other.ended
        self.latency += other.latency


class Tally:
    """What became of the calls of one process, or of several merged.

    Calls that were due in the window are counted by code and reason and in the histograms, wherever they end; `ended`
    counts those that ended in the window, wherever they began, so that rates are those of that time.
    """

    def __init__(self, window: Window) -> None:
        self.window = window
        self.calls: Counter[tuple[str, Verdict, str, str]] = Counter()
        self.ended: Counter[Verdict] = Counter()
        self.latency: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.from_sent = Histogram()
        self.refusal = Histogram()
        self.late_by = Histogram()
        self.sent_late = Histogram()
        self.lag = Histogram()
        self.stages = {stage: Histogram() for stage in STAGES}
        self.batch_sizes: Counter[int] = Counter()
        self.models: Counter[str] = Counter()
        self.cached = 0
        self.over_time = OverTime(window)
        self.cpu_seconds = 0.0
        self.wall_seconds = 0.0
        self.stopped_at = window.end

    def add(self, outcome: Outcome) -> None:
        """Counts one call in."""
        verdict = outcome.verdict
        self.over_time.add(outcome, verdict)
        if self.window.holds(outcome.ended):
            self.ended[verdict] += 1
        if self.window.holds(outcome.intended):
            self._count(outcome, verdict)

    def _count(self, outcome: Outcome, verdict: Verdict) -> None:
        reply = outcome.reply
        self.calls[outcome.priority, verdict, reply.code, reply.reason] += 1
        if reply.code != UNSENT:
            self.sent_late.add(outcome.sent - outcome.intended)
        if verdict == "refused":
            self.refusal.add(outcome.latency)
        if verdict == "late":
            self.late_by.add(outcome.latency - outcome.deadline)
        if verdict in {"good", "late"}:
            self._answered(outcome)

    def _answered(self, outcome: Outcome) -> None:
        """Counts in an answer; whoever meant to cancel and was answered before has no say in how long answers take."""
        reply = outcome.reply
        self.models[reply.model] += 1
        self.cached += reply.cached
        if not outcome.is_cancelling:
            self.latency[outcome.priority].add(outcome.latency)
            self.from_sent.add(outcome.ended - outcome.sent)
        if reply.timings:
            self.batch_sizes[reply.timings.batch_size] += 1
            for stage, histogram in self.stages.items():
                spent = getattr(reply.timings, stage)
                histogram.add(spent.seconds + spent.nanos * 1e-9)

    def merge(self, other: Tally) -> None:
        """Counts in what another process has counted."""
        self.calls.update(other.calls)
        self.ended.update(other.ended)
        self.batch_sizes.update(other.batch_sizes)
        self.models.update(other.models)
        for priority, histogram in other.latency.items():
            self.latency[priority].merge(histogram)
        for name in ("from_sent", "refusal", "late_by", "sent_late", "lag"):
            getattr(self, name).merge(getattr(other, name))
        for stage, histogram in other.stages.items():
            self.stages[stage].merge(histogram)
        self.over_time.merge(other.over_time)
        self.cached += other.cached
        self.cpu_seconds += other.cpu_seconds
        self.wall_seconds = max(self.wall_seconds, other.wall_seconds)
        self.stopped_at = min(self.stopped_at, other.stopped_at)

    @property
    def all_latency(self) -> Histogram:
        """The latency of all answers, whatever their priority."""
        together = Histogram()
        for histogram in self.latency.values():
            together.merge(histogram)
        return together

    def count(self, *verdicts: Verdict) -> int:
        """Returns how many calls that were due in the window ended so."""
        return sum(calls for (_, verdict, _, _), calls in self.calls.items() if verdict in verdicts)
