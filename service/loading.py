"""From a file in the repository to a model that takes requests, on lanes that all models share."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from service.engine.engine import Engine
from service.engine.placement import place
from service.errors import InferenceFailed, StartupError
from service.models import fingerprint
from service.models.registry import LoadedModel
from service.runner import EngineRunner, kind_of
from service.scheduler.admission import Admission, Bounds, House
from service.scheduler.cost import CostModel
from service.scheduler.kind import USUAL
from service.scheduler.lanes import Lanes
from service.scheduler.policy import PATIENCE, Rules
from service.scheduler.queueing import ModelQueue
from service.telemetry.logs import log
from service.telemetry.metrics import QueueSample

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.contract import Pixels
    from service.engine.placement import Placement
    from service.models.repository import ModelFile
    from service.runner import Work
    from service.scheduler.kind import Kind
    from service.settings import ServeSettings
    from service.telemetry.metrics import Metrics, ModelMetrics, Why

# Metrics of the costs are written at most this often, in seconds.
_TELL_COSTS = 1.0


class Loader:
    """Loads models onto the lanes; the first one loaded decides where those are."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._house = House(Bounds(settings.max_total_queue, settings.max_total_queue_bytes), settings.caller_limit)
        self._one_at_a_time = asyncio.Lock()
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._placement: Placement | None = None
        self._placed = asyncio.Event()
        self._lanes: Lanes[Work, Pixels]
        self._threads: ThreadPoolExecutor

    async def run(self) -> None:
        """Run what is queued until cancelled; raises EngineLost when an engine stays broken."""
        await self._placed.wait()
        await self._lanes.run()

    async def load(self, file: ModelFile, on_sound: Callable[[bool], None]) -> LoadedModel:
        """Load a model, warm it up and see that it makes of its own picture what it should.

        `on_sound` is told False while the engine is being mended, and then True. Raises StartupError when the file is
        no model that can be served, and DeviceUnavailable when it does not run where it must.
        """
        async with self._one_at_a_time:
            loop = asyncio.get_running_loop()
            placement = self._placement or await self._place(file)
            engine, costs = await loop.run_in_executor(self._loading, self._warm, file, placement)
        return self._join(file, engine, costs, on_sound)

    async def unload(self, loaded: LoadedModel) -> None:
        """Wait until what was admitted is answered, then free the engine."""
        await loaded.admission.until_empty()
        loaded.admission.close()
        self._lanes.remove(loaded.queue)
        await asyncio.get_running_loop().run_in_executor(self._loading, loaded.engine.close)

    async def _place(self, file: ModelFile) -> Placement:
        placement = await asyncio.get_running_loop().run_in_executor(
            self._loading, place, file.path, self._settings.engine_options
        )
        self._placement = placement
        count = len(placement.lanes)
        self._lanes = Lanes(count)
        # Each lane runs one batch while it prepares the next.
        self._threads = ThreadPoolExecutor(2 * count, thread_name_prefix="engine")
        self._metrics.lanes(count)
        log.info(
            "placed",
            lanes=[f"{lane.device}, {lane.threads} thread{'s' * (lane.threads > 1)}" for lane in placement.lanes],
            cpu_mode=placement.cpu_mode,
            measured={mode: round(rate, 2) for mode, rate in placement.measured.items()},
        )
        self._placed.set()
        return placement

    def _warm(self, file: ModelFile, placement: Placement) -> tuple[Engine, CostModel]:
        engine = Engine(file.path, placement, self._settings.engine_options)
        try:
            costs = CostModel(engine.warm_up())
            fingerprint.check(engine)
            for size, seconds in engine.try_other_sizes(costs.seconds(1)).items():
                costs.observe(1, seconds, kind_of(engine.input, *size))
        except InferenceFailed as error:
            engine.close()
            cause = " ".join(str(error.__cause__ or error).split())
            raise StartupError(f"{file.path}: the model fails on a blank picture: {cause}") from error
        except StartupError as error:
            engine.close()
            raise StartupError(f"{file.path}: {error}") from error
        return engine, costs

    def _join(self, file: ModelFile, engine: Engine, costs: CostModel, on_sound: Callable[[bool], None]) -> LoadedModel:
        """Put the model's queue in front of the lanes, and a door in front of the queue."""
        settings = self._settings
        metrics = self._metrics.model(file.name, file.version)
        runner = EngineRunner(
            file, engine, self._threads, metrics, rebuilds=settings.engine_rebuilds, on_sound=on_sound
        )
        delay = engine.max_queue_delay if settings.max_queue_delay == "auto" else settings.max_queue_delay
        rules = Rules(engine.buckets, delay, settings.priority_ageing)
        queue: ModelQueue[Work, Pixels] = ModelQueue(runner, costs, rules, _Teller(metrics), kind_of=_kinds(engine))
        self._lanes.add(queue)
        bounds = Bounds(settings.max_queue, settings.max_queue_bytes)
        admission = Admission(bounds, self._house, queue, PATIENCE * settings.priority_ageing)
        nbytes = engine.input.nbytes
        metrics.loaded(
            engine.provider,
            lambda: QueueSample(queue.depth, round(queue.weight * nbytes), admission.requests, admission.bytes),
        )
        metrics.cost(costs.base, costs.per_row, costs.measured)
        return LoadedModel(engine, queue, admission, engine.buckets[-1])


def _kinds(engine: Engine) -> Callable[[Work], Kind]:
    """Return what tells of which kind a picture is: of a model of one size all are alike."""
    shape = engine.input
    return (lambda work: kind_of(shape, *work.pixels.shape[:2])) if shape.any_size else (lambda _: USUAL)


class _Teller:
    """Tells a model's metrics what happens in its queue."""

    def __init__(self, metrics: ModelMetrics) -> None:
        self._metrics = metrics
        self._told = 0.0

    def left(self, why: Why) -> None:
        self._metrics.left(why)

    def changed(self) -> None:
        self._metrics.planned_anew()

    def learned(self, costs: CostModel) -> None:
        if time.monotonic() - self._told >= _TELL_COSTS:
            self._told = time.monotonic()
            self._metrics.cost(costs.base, costs.per_row, costs.measured)

    def worked(self, seconds: float) -> None:
        self._metrics.worked(seconds)
