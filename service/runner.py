"""Between the scheduler and an engine: runs beside the event loop, counted and traced, and an engine that is mended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

from service.errors import EngineBroken, EngineLost, InferenceFailed, StartupError
from service.scheduler.kind import USUAL, Kind
from service.telemetry import tracing
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Executor

    from service.engine.contract import PictureShape, Pixels
    from service.engine.engine import Engine, Prepared
    from service.models.repository import ModelFile
    from service.telemetry.metrics import ModelMetrics
    from service.telemetry.tracing import Link

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Seconds before the first, second, … time that an engine is built anew: what broke it may need a moment.
_PAUSES = (0.0, 1.0, 5.0, 15.0)


@dataclass(frozen=True)
class Work:
    """A picture at a size that the model takes, [H, W, C], the trace of the request that it belongs to, and its seed.

    The seed is of use to models that take one only.
    """

    pixels: Pixels
    link: Link | None = None
    seed: int = 0


def kind_of(shape: PictureShape, height: int, width: int) -> Kind:
    """Return the kind of pictures of that size: the usual one is the size that the model was made for."""
    if (height, width) == (shape.height, shape.width):
        return USUAL
    return Kind((height, width), height * width / (shape.height * shape.width))


@dataclass(frozen=True)
class Job:
    """Work for one run; prepared already where that is done ahead."""

    work: Sequence[Work]
    bucket: int
    prepared: Prepared | None


class EngineRunner:
    """Runs one model's work on its engine.

    An engine that fails is asked for the picture that it warmed up with. Where that fails too, the fault is the
    engine's: it is built anew, up to `rebuilds` times in a row, and then given up with EngineLost. `on_sound` is told
    when the model cannot be relied on and when it can again.
    """

    def __init__(
        self,
        file: ModelFile,
        engine: Engine,
        threads: Executor,
        metrics: ModelMetrics,
        *,
        rebuilds: int,
        on_sound: Callable[[bool], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.prepares = engine.stages
        self._file = file
        self._engine = engine
        self._threads = threads
        self._metrics = metrics
        self._rebuilds = rebuilds
        self._on_sound = on_sound
        self._sleep = sleep
        self._failures = 0
        self._broken: set[int] = set()

    async def prepare(self, lane: int, rows: Sequence[Work], bucket: int) -> Job:
        """Bring the pictures to where the engine takes them from, where it stages them."""
        prepared = await self._in_thread(self._prepared, lane, rows, bucket) if self.prepares else None
        return Job(rows, bucket, prepared)

    def discard(self, lane: int, prepared: Job) -> None:
        """Let the engine have its buffers back."""
        if prepared.prepared:
            self._engine.discard(lane, prepared.prepared)

    async def run(self, lane: int, prepared: Job) -> Sequence[Pixels]:
        """Run a job; raises EngineBroken when the engine, and not a picture, is the cause of a failure."""
        rows = len(prepared.work)
        links = [work.link for work in prepared.work if work.link]
        try:
            with (
                self._metrics.run(rows, prepared.bucket),
                tracing.batch(self._file.name, self._file.version, rows, prepared.bucket, links),
            ):
                results = await self._in_thread(self._infer, lane, prepared)
        except InferenceFailed as error:
            if await self._in_thread(self._engine.is_sound, lane):
                raise
            raise EngineBroken("the engine fails on any picture") from error
        self._failures = 0
        return results

    async def repair(self, lane: int) -> None:
        """Build the lane's engine anew; raises EngineLost when it stays broken."""
        self._broken.add(lane)
        self._on_sound(False)
        while not await self._rebuilt(lane):
            pass
        self._broken.discard(lane)
        if not self._broken:
            self._on_sound(True)

    async def _rebuilt(self, lane: int) -> bool:
        """Build the engine anew once; tells whether it works."""
        self._failures += 1
        self._metrics.engine_failed()
        log.error("engine_failed", model=self._file.name, version=self._file.version, lane=lane, times=self._failures)
        if self._failures > self._rebuilds:
            model = f"model {self._file.name} version {self._file.version}"
            raise EngineLost(f"{model}: the engine failed {self._failures} times in a row")
        await self._sleep(_PAUSES[min(self._failures - 1, len(_PAUSES) - 1)])
        try:
            await self._in_thread(self._engine.rebuild, lane)
        except (InferenceFailed, StartupError) as error:
            log.error("engine_not_rebuilt", model=self._file.name, version=self._file.version, reason=str(error))
            return False
        self._metrics.engine_rebuilt()
        log.info("engine_rebuilt", model=self._file.name, version=self._file.version, lane=lane)
        return True

    def _prepared(self, lane: int, work: Sequence[Work], bucket: int) -> Prepared:
        seeds = [one.seed for one in work] if self._engine.takes_seed else ()
        return self._engine.prepare(lane, [one.pixels for one in work], bucket, seeds)

    def _infer(self, lane: int, job: Job) -> Sequence[Pixels]:
        return self._engine.run(lane, job.prepared or self._prepared(lane, job.work, job.bucket))

    async def _in_thread(self, call: Callable[[Unpack[Ts]], T], *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
