from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from bench.outcome import Outcome, Reply


@pytest.mark.parametrize(
    ("reply", "fields", "verdict"),
    [
        (Reply("OK"), {"ended": 1.9}, "good"),
        (Reply("OK"), {"ended": 2.1}, "late"),
        (Reply("OK"), {"ended": 900, "deadline": math.inf}, "good"),
        (Reply("RESOURCE_EXHAUSTED", "QUEUE_FULL"), {}, "refused"),
        (Reply("DEADLINE_EXCEEDED"), {}, "expired"),
        (Reply("CANCELLED", "BY_CALLER"), {"is_cancelling": True}, "cancelled"),
        (Reply("CANCELLED"), {}, "failed"),
        (Reply("UNSENT"), {}, "unsent"),
        (Reply("UNAVAILABLE", "NOT_READY"), {}, "failed"),
        (Reply("INTERNAL"), {}, "failed"),
    ],
)
def test_every_end_has_its_word(
    outcome: Callable[..., Outcome], reply: Reply, fields: dict[str, object], verdict: str
) -> None:
    assert outcome(reply, **fields).verdict == verdict


def test_an_answer_that_was_sent_late_is_late_by_when_it_was_due(outcome: Callable[..., Outcome]) -> None:
    assert outcome(sent=1.9, ended=2.05).verdict == "late"
