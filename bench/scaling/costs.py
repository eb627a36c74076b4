"""What a replica costs and can do, as it was recorded, or as a running one tells it."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from bench.errors import BenchError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Runs:
    """One replica: `lanes` runs at a time, each `base + rows * row` seconds for up to `batch` rows."""

    lanes: int
    base: float
    row: float
    batch: int

    @property
    def rate(self) -> float:
        """Pictures per second of a replica whose batches are full."""
        return self.lanes * self.batch / self.run

    @property
    def run(self) -> float:
        """Seconds of a full run."""
        return self.base + self.batch * self.row


@dataclass(frozen=True)
class Costs(Runs):
    """Runs, and the CPU that a replica uses meanwhile.

    `cpu_busy` is what it uses of its cores, of which it has as many as lanes, when all lanes are busy, and `cpu_edge`
    the part of that which is not the engine's: all that is left of it where the engine is a GPU.
    """

    cpu_busy: float
    cpu_edge: float

    def save(self, path: Path) -> None:
        """Writes them as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> Costs:
    """Reads what `save` wrote."""
    try:
        return Costs(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BenchError(f"{path}: no costs; `python -m bench.scaling record` writes them ({error})") from error


def of_replica(address: str, model: str) -> Runs:
    """Returns what a running replica's metrics (HOST:PORT) say that its model's runs take; "" for the only model."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except (OSError, ValueError) as error:
        raise BenchError(f"--replica {address}: no metrics there: {error}") from error
    return told(text, address, model)


def told(text: str, address: str, model: str) -> Runs:
    """Returns what metrics say of a model's newest version, by their text."""
    found: dict[str, dict[tuple[str, int], dict[str, float]]] = {}
    lanes = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "lapis_engine_lanes":
                lanes = round(sample.value)
            elif sample.name.startswith("lapis_cost_"):
                version = (sample.labels["model"], int(sample.labels["version"]))
                costs = found.setdefault(version[0], {}).setdefault(version, {})
                costs[sample.labels.get("bucket", sample.name)] = sample.value
    if not (found and lanes):
        raise BenchError(f"--replica {address}: tells no costs; is it a Lapis server, and is a model ready?")
    name = model or (next(iter(found)) if len(found) == 1 else "")
    if name not in found:
        raise BenchError(f"--model: {model!r} is none of those at {address}: {', '.join(sorted(found))}")
    costs = found[name][max(found[name])]
    largest = max(int(bucket) for bucket in costs if bucket.isdecimal())
    return Runs(lanes, costs["lapis_cost_base_seconds"], costs["lapis_cost_row_seconds"], largest)
