"""A choice among several things by weight, and how it is written: `high=0.1,low=0.9`."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Mix(Generic[T]):
    """Things and how often each is drawn; `shares` adds up to 1. Raises ValueError unless all weights are above 0."""

    def __init__(self, weighted: Sequence[tuple[T, float]]) -> None:
        if not weighted or min(weight for _, weight in weighted) <= 0:
            raise ValueError("needs at least one item, and weights above 0")
        total = sum(weight for _, weight in weighted)
        self.items = [item for item, _ in weighted]
        self.shares = [weight / total for _, weight in weighted]
        self._bounds = list(accumulate(self.shares))[:-1]

    def draw(self, rng: random.Random) -> T:
        """Returns one of the items."""
        return self.items[bisect(self._bounds, rng.random())] if self._bounds else self.items[0]


def parse(text: str, read: Callable[[str], T]) -> Mix[T]:
    """Reads `item=weight,item=weight`; an item without a weight weighs 1. Raises ValueError with a sentence."""
    weighted = []
    for part in text.split(","):
        item, _, weight = part.partition("=")
        weighted.append((read(item.strip()), _number(weight) if weight else 1.0))
    return Mix(weighted)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no weight; write a mix as in a=0.1,b=0.9") from error
