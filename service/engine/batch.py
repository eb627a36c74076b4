"""A batch on its way into a run, and what runs it: the seam between the engine and how a device is driven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from service.engine.contract import Pixels

    Seeds = NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """Pictures that stand ready as one array [N, H, W, C]; only the first `rows` of the N are anyone's.

    `seeds` [N] go with them where the model takes any.
    """

    pixels: Pixels
    rows: int
    seeds: Seeds | None = None


@dataclass(frozen=True)
class Sample:
    """A picture to try an engine with, and the seed that goes with it where the model takes any."""

    pixels: Pixels
    seed: int | None = None

    def seeds(self, count: int) -> list[int]:
        """Return the seed so many times, or none."""
        return [] if self.seed is None else [self.seed] * count


class Runs(Protocol):
    """Runs a model at one place, one run at a time; `prepare` and `discard` may go on meanwhile in other threads."""

    stages: bool
    """Whether it pays to prepare the next batch while one runs."""

    settling: int
    """How many runs of a size go by before one takes its usual time."""

    def prepare(self, rows: Sequence[Pixels], bucket: int, seeds: Sequence[int] = ()) -> Prepared:
        """Put pictures of one size together, and fill up to `bucket` rows.

        `seeds` has one for each picture where the model takes any, and none where it does not.
        """

    def discard(self, prepared: Prepared) -> None:
        """Take back what was prepared and will not be run."""

    def run(self, prepared: Prepared) -> list[Pixels]:
        """Return the translations of the rows, and not of the filling; raises InferenceFailed."""

    def close(self) -> None:
        """Free the session and its buffers; what is run afterwards fails."""


def fill(rows: Sequence[Pixels], into: Pixels) -> None:
    """Copy the rows into an array [N, H, W, C] and repeat the last one until it is full.

    A real picture as filling costs what any costs, and cannot take a path (NaN, division by 0) that no real one takes.
    """
    for index, row in enumerate(rows):
        into[index] = row
    into[len(rows) :] = rows[-1]


def fill_seeds(seeds: Sequence[int], bucket: int) -> Seeds | None:
    """Return the seeds as an array [bucket], the last one repeated until it is full, or None where there are none."""
    return np.array([*seeds, *[seeds[-1]] * (bucket - len(seeds))], np.int64) if seeds else None
