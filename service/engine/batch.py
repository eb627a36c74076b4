"""A batch on its way into a run, and what runs it: the seam between the engine and how a device is driven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """Pictures that stand ready as one array [N, H, W, C]; only the first `rows` of the N are anyone's."""

    pixels: Pixels
    rows: int


class Runs(Protocol):
    """Runs a model at one place, one run at a time; `prepare` and `discard` may go on meanwhile in other threads."""

    stages: bool
    """Whether it pays to prepare the next batch while one runs."""

    settling: int
    """How many runs of a size go by before one takes its usual time."""

    def prepare(self, rows: Sequence[Pixels], bucket: int) -> Prepared:
        """Put the pictures together, and fill up to `bucket` rows."""

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
