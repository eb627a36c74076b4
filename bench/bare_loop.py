"""ONNX Runtime alone, in a process of its own: a model on decoded pixels, in a number of threads."""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from bench.pictures import read_or_draw

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

_PROVIDERS: dict[str, Any] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "cudnn_conv_use_max_workspace": "1"})],
}
_VARIETY = 16


class BareLoop:
    """Runs a model on `place` (cpu or cuda), `batch` pictures at a time, on a folder's pictures or on drawings."""

    def __init__(self, path: Path, place: str, batch: int, folder: Path | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(target=_work, args=(other_end, path, place, batch, folder))
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        self._process.join()

    def turn(self, threads: int, seconds: float) -> tuple[float, float]:
        """Lets threads run the model, each again when it is done; returns pictures per second and CPU ms a picture."""
        self._pipe.send((threads, seconds))
        rate, cpu_ms = self._pipe.recv()
        return float(rate), float(cpu_ms)


def _work(pipe: Connection, path: Path, place: str, batch: int, folder: Path | None) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=_PROVIDERS[place])
    if place == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise RuntimeError("ONNX Runtime has no CUDA here")
    _, height, width, _ = session.get_inputs()[0].shape
    rows = [cv2.resize(picture, (width, height)) for picture in read_or_draw(folder, _VARIETY, 0)]
    batches = [np.stack([rows[(first + n) % len(rows)] for n in range(batch)]) for first in range(len(rows))]
    session.run(None, {"image": batches[0]})
    while (order := pipe.recv()) is not None:
        threads, seconds = order
        cpu = time.process_time()
        finished = _in_threads(
            threads, seconds, lambda number: session.run(None, {"image": batches[number % len(rows)]})
        )
        spent = time.process_time() - cpu
        pipe.send((_rate(finished) * batch, spent / (len(finished) * batch) * 1000))


def _in_threads(threads: int, seconds: float, work: Callable[[int], object]) -> list[float]:
    """Returns when each run finished."""
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


def _rate(finished: list[float]) -> float:
    """Returns completions per second of the steady middle: not of the start, nor of the end when threads drop out."""
    finished.sort()
    edge = max(1, len(finished) // 20)
    steady = finished[edge:-edge]
    return (len(steady) - 1) / (steady[-1] - steady[0]) if len(steady) > 1 else 0.0
