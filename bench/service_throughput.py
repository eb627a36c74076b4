"""Pictures per second through gRPC against a bare ONNX Runtime loop, side by side in one run.

The service and the loop take turns, round by round, so that whatever else the machine does weighs on both. The loop
runs the model on decoded pixels with as many threads as there are callers, and with one thread per core; the faster
counts. Besides the rates, which a busy machine blurs, it tells the CPU time of a picture, which it blurs less.

    python bench/service_throughput.py --models models --seconds 10 --rounds 4
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import cv2
import grpc
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from lapis.command import CommandSettings, run
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc
from pydantic import Field, PositiveFloat, PositiveInt

from service.cores import available_cores
from service.engine.session import Engine
from service.errors import StartupError
from service.repository import scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

RESULTS = Path(__file__).parent / "results" / "service_throughput.json"
MODEL_SIDE = 256


class BenchSettings(CommandSettings):
    """Measures the service against a bare ONNX Runtime loop."""

    models: Path = Field(Path("models"), description="model repository; its first model is measured")
    pictures: Path | None = Field(None, description="folder of PNG files to send; by default drawings made up here")
    callers: PositiveInt = Field(8, description="concurrent callers")
    seconds: PositiveFloat = Field(10.0, description="length of one turn")
    rounds: PositiveInt = Field(4, description="turns of each")
    cold_starts: PositiveInt = Field(3, description="starts of the server that are timed")
    flags: str = Field("", description="more flags for lapis-serve, as one string")
    output: Path = Field(RESULTS, description="where the figures are written, as JSON")


@dataclass(frozen=True)
class Turn:
    """One turn: pictures per second, and CPU milliseconds that a picture took in all processes together."""

    rate: float
    cpu_ms: float


def main() -> NoReturn:
    """Run the benchmark."""
    run("service_throughput", BenchSettings, measure, errors=(StartupError, FileNotFoundError))


def measure(settings: BenchSettings) -> int:
    """Measure, print and write the figures."""
    path = scan(settings.models)[0].path
    pictures = _pictures(settings.pictures)
    starts = [_timed_start(settings) for _ in range(settings.cold_starts)]
    thread_counts = sorted({settings.callers, available_cores()})
    with Service(settings) as service, BareLoop(path, pictures) as bare:
        turns: dict[str, list[Turn]] = {"service": [], **{f"bare_{threads}": [] for threads in thread_counts}}
        for number in range(settings.rounds):
            turns["service"].append(service.turn(pictures, settings.callers, settings.seconds))
            for threads in thread_counts:
                turns[f"bare_{threads}"].append(bare.turn(threads, settings.seconds))
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


def _figures(turns: dict[str, list[Turn]], starts: list[float]) -> dict[str, Any]:
    """Sum up: medians over rounds, and the ratio to the faster bare loop, round by round."""
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
    return {"cpu": name, "cores": available_cores(), "onnxruntime": onnxruntime.__version__, "load": os.getloadavg()}


def _pictures(folder: Path | None) -> list[bytes]:
    """Return PNG files at the model's usual size: the folder's, or drawings of black lines on white."""
    if folder:
        found = [path.read_bytes() for path in sorted(folder.glob("*.png"))]
        if not found:
            raise FileNotFoundError(f"{folder}: no PNG files in it")
        return found
    generator = np.random.default_rng(0)
    return [_drawing(generator) for _ in range(16)]


def _drawing(generator: np.random.Generator) -> bytes:
    canvas = np.full((MODEL_SIDE, MODEL_SIDE, 3), 255, np.uint8)
    for _ in range(12):
        x, y, wide, high, turn = (int(number) for number in generator.integers(20, 236, 5))
        cv2.ellipse(canvas, (x, y), (wide // 3, high // 3), turn, 0, 300, (0, 0, 0), 4, cv2.LINE_AA)
    return cv2.imencode(".png", canvas)[1].tobytes()


def _rate(finished: list[float]) -> float:
    """Return completions per second of the steady middle: not of the start, nor of the end when callers drop out."""
    finished.sort()
    edge = max(1, len(finished) // 20)
    steady = finished[edge:-edge]
    return (len(steady) - 1) / (steady[-1] - steady[0])


class Service:
    """A running `lapis-serve`, and callers of it."""

    def __init__(self, settings: BenchSettings) -> None:
        command = [sys.executable, "-m", "service", "--models", settings.models, "--port", "0", "--http-port", "0"]
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            [str(part) for part in (*command, "--log-format", "json", *settings.flags.split())],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._addresses = self._serving()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def turn(self, pictures: list[bytes], callers: int, seconds: float) -> Turn:
        """Let callers send pictures, each the next when the last is answered."""
        before = self._cpu_seconds() + time.process_time()
        finished = asyncio.run(self._call(pictures, callers, seconds))
        spent = self._cpu_seconds() + time.process_time() - before
        return Turn(_rate(finished), spent / len(finished) * 1000)

    async def _call(self, pictures: list[bytes], callers: int, seconds: float) -> list[float]:
        finished: list[float] = []
        end = time.monotonic() + seconds

        async def caller(number: int) -> None:
            while time.monotonic() < end:
                number += 1
                await stub.Translate(pb.TranslateRequest(encoded=pictures[number % len(pictures)]))
                finished.append(time.monotonic())

        async with grpc.aio.insecure_channel(self._addresses["grpc_address"]) as channel:
            stub: Any = pb_grpc.TranslationServiceStub(channel)
            await asyncio.gather(*(caller(number) for number in range(callers)))
        return finished

    def _serving(self) -> dict[str, Any]:
        assert self._process.stderr  # noqa: S101 (it is a pipe)
        for line in self._process.stderr:
            if not line.startswith("{"):
                raise StartupError(line.strip())
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "serving":
                return event
        raise StartupError("the server ended before it was ready")

    def _cpu_seconds(self) -> float:
        with urllib.request.urlopen(f"http://{self._addresses['http_address']}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("process_cpu_seconds_total")))


def _timed_start(settings: BenchSettings) -> float:
    """Return the seconds from the start of the process until every model is warm."""
    started = time.monotonic()
    with Service(settings):
        return time.monotonic() - started


class BareLoop:
    """ONNX Runtime alone, in a process of its own: the model on decoded pixels, in a number of threads."""

    def __init__(self, path: Path, pictures: list[bytes]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(target=_bare_loop, args=(other_end, path, pictures))
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join()

    def turn(self, threads: int, seconds: float) -> Turn:
        """Let threads run the model, each the next picture when the last is done."""
        self._pipe.send((threads, seconds))
        finished, cpu_seconds = self._pipe.recv()
        return Turn(_rate(finished), cpu_seconds / len(finished) * 1000)


def _bare_loop(pipe: Connection, path: Path, pictures: list[bytes]) -> None:
    engine = Engine(path, "cpu", threads=1)
    rows = [_at_model_size(picture, engine.input.height, engine.input.width) for picture in pictures]
    engine.warm_up([1])
    while (order := pipe.recv()) is not None:
        threads, seconds = order
        before = time.process_time()
        pipe.send(
            (
                _run_in_threads(threads, seconds, lambda number: engine.infer([rows[number % len(rows)]])),
                time.process_time() - before,
            )
        )


def _run_in_threads(threads: int, seconds: float, work: Callable[[int], object]) -> list[float]:
    finished: list[float] = []
    end = time.monotonic() + seconds

    def repeat(number: int) -> None:
        while time.monotonic() < end:
            number += 1
            work(number)
            finished.append(time.monotonic())

    workers = [threading.Thread(target=repeat, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return finished


def _at_model_size(picture: bytes, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels = np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main()
