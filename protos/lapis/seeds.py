"""The seeds that a picture is translated with, as a command line names them."""

from __future__ import annotations

import re
from itertools import chain

from lapis.client.messages import LARGEST_SEED, SMALLEST_SEED

MOST = 10_000
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_RANGE = re.compile(r"(-?[0-9]{1,20})(?:-(-?[0-9]{1,20}))?")


def parse_seed(text: str) -> int | None:
    """Returns the seed that a text stands for; None where it is no whole number of 64 bits."""
    seed = int(text) if _WHOLE.fullmatch(text) else None
    return seed if seed is not None and SMALLEST_SEED <= seed <= LARGEST_SEED else None


def parse_seeds(text: str) -> tuple[int, ...]:
    """Returns the seeds that numbers and ranges such as `0-7` and `1,5,10-19` name, each once, in their order.

    Raises ValueError for anything else, and for more than MOST of them.
    """
    ranges = [_range(part.strip()) for part in text.split(",")]
    count = sum(seeds.stop - seeds.start for seeds in ranges)  # more than len() may count
    if count > MOST:
        raise ValueError(f"names {count:,} seeds; at most {MOST:,} are taken")
    return tuple(dict.fromkeys(chain.from_iterable(ranges)))


def _range(text: str) -> range:
    found = _RANGE.fullmatch(text)
    first, last = (parse_seed(found[1]), parse_seed(found[2] or found[1])) if found else (None, None)
    if first is None or last is None or first > last:
        raise ValueError("must be seeds such as 7, 0-7 or 1,5,10-19, each a whole number of 64 bits")
    return range(first, last + 1)
