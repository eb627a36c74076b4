"""Pictures per second through gRPC against a bare ONNX Runtime loop, side by side in one run.

The service and the loop take turns, round by round, so that whatever else the machine does weighs on both. The loop
runs the model on decoded pixels with as many threads as there are callers, and with one thread per core; the faster
counts. Besides the rates, which a busy machine blurs, it tells the CPU time of a picture, which it blurs less.

    python -m bench.service_throughput --models models --seconds 10 --rounds 4
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import onnxruntime  # type: ignore[import-untyped]
from lapis.client import Client
from lapis.command import CommandSettings, run
from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import SettingsConfigDict

from bench.bare_loop import BareLoop
from bench.errors import BenchError
from bench.load import measure as put_under_load
from bench.proof.server import ServerProcess, lapis_serve
from bench.settings import BenchSettings

RESULTS = Path(__file__).parent / "results" / "service_throughput.json"


class ThroughputSettings(CommandSettings):
    """Measures the service against a bare ONNX Runtime loop."""

    model_config = SettingsConfigDict(env_prefix="LAPIS_THROUGHPUT_")

    models: Path = Field(Path("models"), description="model repository; its first model is measured")
    pictures: Path | None = Field(None, description="folder of pictures to send; by default drawings made up here")
    sent: Literal["png", "raw"] = Field(
        "png",
        description="png: files are sent and answered, and the codec counts, too; raw: pixels at the model's size",
    )
    callers: PositiveInt = Field(8, description="concurrent callers")
    seconds: PositiveFloat = Field(10.0, description="length of one turn")
    rounds: PositiveInt = Field(4, description="turns of each")
    cold_starts: PositiveInt = Field(3, description="starts of the server that are timed")
    flags: str = Field("", description="more flags for lapis-serve, as one string")
    bare: Literal["cpu", "cuda"] = Field("cpu", description="where the bare loop runs")
    bare_batch: PositiveInt = Field(1, description="pictures that the bare loop runs at a time")
    output: Path = Field(RESULTS, description="where the figures are written, as JSON")


@dataclass(frozen=True)
class Turn:
    """One turn: pictures per second, and CPU milliseconds that a picture took in all processes together."""

    rate: float
    cpu_ms: float


def main() -> NoReturn:
    """Runs the benchmark."""
    run("service_throughput", ThroughputSettings, measure, errors=(BenchError, OSError), extra="bench")


def measure(settings: ThroughputSettings) -> int:
    """Measures, prints and writes the figures."""
    path = _model_file(settings.models)
    starts = [_timed_start(settings) for _ in range(settings.cold_starts)]
    thread_counts = sorted({settings.callers, len(os.sched_getaffinity(0))}) if settings.bare == "cpu" else [1, 2]
    with _server(settings) as server, BareLoop(path, settings.bare, settings.bare_batch, settings.pictures) as bare:
        turns: dict[str, list[Turn]] = {"service": [], **{f"bare_{threads}": [] for threads in thread_counts}}
        for number in range(settings.rounds):
            turns["service"].append(_turn(server, settings))
            for threads in thread_counts:
                turns[f"bare_{threads}"].append(Turn(*bare.turn(threads, settings.seconds)))
            print(f"round {number + 1}:", {name: asdict(taken[-1]) for name, taken in turns.items()}, file=sys.stderr)
    figures = _figures(turns, starts) | {
        "model": str(path),
        "settings": settings.model_dump(mode="json", exclude={"config", "output"}),
        **_machine(),
    }
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))
    return 0


def _model_file(models: Path) -> Path:
    """Returns the file of the repository's first model, in its highest version, as the server chooses it."""
    found = sorted(models.glob("*/*/model.onnx"), key=lambda path: (path.parts[-3], -_number(path.parts[-2])))
    if not found:
        raise BenchError(f"--models {models}: no NAME/VERSION/model.onnx in it")
    return found[0]


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0


def _server(settings: ThroughputSettings) -> ServerProcess:
    return lapis_serve(settings.models, settings.flags.split())


def _timed_start(settings: ThroughputSettings) -> float:
    """Returns the seconds from the start of the process until every model is warm."""
    started = time.monotonic()
    with _server(settings):
        return time.monotonic() - started


def _model_side(server: ServerProcess) -> str:
    """Returns the size of the pictures that the model takes, as HEIGHTxWIDTH."""
    with Client(server.address) as client:
        taken = client.get_model().input
    return f"{taken.height}x{taken.width}"


def _turn(server: ServerProcess, settings: ThroughputSettings) -> Turn:
    """Lets callers send pictures, each the next when the last is answered."""
    side = _model_side(server) if settings.sent == "raw" else "256"
    load = BenchSettings(
        server=server.address,
        pid=str(server.pid),
        concurrency=settings.callers,
        seconds=settings.seconds,
        warmup=1,
        folder=settings.pictures,
        pictures="file" if settings.pictures and settings.sent == "png" else f"{settings.sent}:{side}",
        answer=settings.sent,
    )
    measured = asyncio.run(put_under_load(load, asyncio.Event()))
    tally, watched = measured.tally, measured.watched
    answered = sum(tally.over_time.column("good").tolist())
    spent = tally.cpu_seconds + (watched.cpu_seconds if watched else 0.0)
    return Turn(tally.ended["good"] / settings.seconds, spent / max(1, answered) * 1000)


def _figures(turns: dict[str, list[Turn]], starts: list[float]) -> dict[str, Any]:
    """Sums up: medians over rounds, and the ratio to the faster bare loop, round by round."""
    rates = {name: statistics.median(turn.rate for turn in taken) for name, taken in turns.items()}
    cpu = {name: statistics.median(turn.cpu_ms for turn in taken) for name, taken in turns.items()}
    bare = max((name for name in turns if name != "service"), key=lambda name: rates[name])
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(turns["service"], turns[bare], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "cpu_ratio": round(cpu[bare] / cpu["service"], 4),
        "against": bare,
        "pictures_per_second": {name: round(rate, 2) for name, rate in rates.items()},
        "cpu_ms_per_picture": {name: round(milliseconds, 2) for name, milliseconds in cpu.items()},
        "cold_start_seconds": [round(seconds, 2) for seconds in starts],
    }


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    cores = len(os.sched_getaffinity(0))
    return {"cpu": name, "cores": cores, "onnxruntime": onnxruntime.__version__, "load": os.getloadavg()}


if __name__ == "__main__":
    main()
