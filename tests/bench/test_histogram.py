from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.histogram import Histogram

durations = st.lists(st.floats(min_value=1e-6, max_value=3000), min_size=1, max_size=200)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(durations, st.floats(min_value=0, max_value=1))
def test_every_percentile_is_right_to_half_a_percent(values: list[float], share: float) -> None:
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert filled(values).percentile(share) == pytest.approx(exact, rel=0.0051)


@given(durations, durations)
def test_merging_is_counting_all_in_one(ours: list[float], theirs: list[float]) -> None:
    merged, whole = filled(ours), filled(ours + theirs)
    merged.merge(pickle.loads(pickle.dumps(filled(theirs))))
    assert (merged.counts == whole.counts).all()
    assert (merged.total, merged.least, merged.most) == (whole.total, whole.least, whole.most)
    assert merged.mean == pytest.approx(whole.mean)


def test_what_is_shorter_or_longer_than_can_be_told_apart_is_still_counted() -> None:
    histogram = filled([0.0, -1e-9, 1e-9, 1e9])
    assert histogram.total == histogram.counts.sum() == 4
    assert histogram.most == 1e9


def test_an_empty_histogram_has_no_percentiles() -> None:
    assert math.isnan(Histogram().percentile(0.5))
    assert math.isnan(Histogram().mean)


def test_tells_how_many_are_longer() -> None:
    histogram = filled([0.1, 0.2, 0.3, 0.4])
    assert [histogram.above(seconds) for seconds in (0.05, 0.25, 0.5)] == [4, 2, 0]
