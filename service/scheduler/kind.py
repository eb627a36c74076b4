"""Which rows may run together."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """What rows of one run have in common: a `name`, and how much larger each is than a usual row (`scale`, above 0).

    A run takes about `scale` times as long as one of as many usual rows, and as much more memory.
    """

    name: tuple[int, ...] = ()
    scale: float = 1.0


USUAL = Kind()
