"""From a file in the repository to a model that takes requests."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from service.engine.session import Engine, one_line
from service.errors import InferenceFailed, StartupError
from service.registry import LoadedModel
from service.scheduler.admission import Admission
from service.scheduler.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.metrics import EngineMetrics, Metrics
    from service.repository import ModelFile
    from service.settings import ServeSettings

    Pixels = NDArray[np.uint8]


async def load(file: ModelFile, settings: ServeSettings, metrics: Metrics) -> LoadedModel:
    """Load a model and warm it up, in a thread of its own.

    Raises StartupError when the file is no model, and DeviceUnavailable when it does not run where it must.
    """
    loop = asyncio.get_running_loop()
    loader = ThreadPoolExecutor(1, thread_name_prefix=f"load-{file.name}")
    try:
        engine = await loop.run_in_executor(loader, _load_warm, file, settings)
    finally:
        loader.shutdown(wait=False)
    capacity = settings.capacity(on_gpu=engine.on_gpu)
    runs = ThreadPoolExecutor(capacity.slots, thread_name_prefix=f"engine-{file.name}")
    observed = _in_threads(engine, runs, metrics.engine(file.name, file.version, capacity.slots))
    batcher = Batcher(observed, capacity)
    admission = Admission(settings.max_queue, settings.max_queue_bytes, lambda: batcher.expected_wait)
    return LoadedModel(engine, batcher, admission, capacity.max_batch_size)


def _load_warm(file: ModelFile, settings: ServeSettings) -> Engine:
    engine = Engine(file.path, settings.device, settings.threads_per_run)
    try:
        engine.warm_up({1, settings.capacity(on_gpu=engine.on_gpu).max_batch_size})
    except InferenceFailed as error:
        raise StartupError(f"{file.path}: the model fails on a blank picture: {one_line(error.__cause__)}") from error
    return engine


def _in_threads(
    engine: Engine, threads: ThreadPoolExecutor, metrics: EngineMetrics
) -> Callable[[Sequence[Pixels]], Awaitable[Sequence[Pixels]]]:
    """Let the engine run beside the event loop, and count its runs."""
    loop = asyncio.get_running_loop()

    async def infer(batch: Sequence[Pixels]) -> Sequence[Pixels]:
        with metrics.run(len(batch)):
            return await loop.run_in_executor(threads, engine.infer, batch)

    return infer
