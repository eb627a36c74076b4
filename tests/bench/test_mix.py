from __future__ import annotations

import random
from collections import Counter

import pytest

from bench.mix import Mix, parse


def test_things_are_drawn_by_their_weight() -> None:
    drawn = parse("a=1,b=3", str)
    rng = random.Random(3)
    counted = Counter(drawn.draw(rng) for _ in range(20_000))
    assert counted["b"] / 20_000 == pytest.approx(0.75, abs=0.02)


def test_weights_need_not_add_up_to_one() -> None:
    assert parse("high=2,low=6", str).shares == [0.25, 0.75]
    assert parse("high,low", str).shares == [0.5, 0.5]


def test_one_thing_is_always_drawn() -> None:
    assert Mix([("only", 0.1)]).draw(random.Random(0)) == "only"


@pytest.mark.parametrize("text", ["a=x", "a=0", "a=-1,b=2"])
def test_weights_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="weight"):
        parse(text, str)
