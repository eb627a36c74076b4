"""What a replica costs and can do, as it was recorded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Costs:
    """One replica: `lanes` runs at a time, each `base + rows * row` seconds for up to `batch` rows.

    `cpu_busy` is what it uses of its cores, of which it has as many as lanes, when all lanes are busy, and `cpu_edge`
    the part of that which is not the engine's: all that is left of it where the engine is a GPU.
    """

    lanes: int
    base: float
    row: float
    batch: int
    cpu_busy: float
    cpu_edge: float

    @property
    def rate(self) -> float:
        """Pictures per second of a replica whose batches are full."""
        return self.lanes * self.batch / self.run

    @property
    def run(self) -> float:
        """Seconds of a full run."""
        return self.base + self.batch * self.row

    def save(self, path: Path) -> None:
        """Writes them as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> Costs:
    """Reads what `save` wrote."""
    try:
        return Costs(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BenchError(f"{path}: no costs; `python -m bench.scaling record` writes them ({error})") from error
