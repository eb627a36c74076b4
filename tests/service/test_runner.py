from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.batch import Prepared
from service.errors import EngineBroken, EngineLost, InferenceFailed
from service.models.repository import ModelFile
from service.runner import EngineRunner, Work
from service.telemetry.metrics import Metrics

Pixels = NDArray[np.uint8]

PICTURE = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
BAD = np.full((2, 2, 3), 13, np.uint8)


class Engine:
    """Inverts pictures; fails on BAD, and on all while it is broken; `cures` says which rebuilds help."""

    stages = False
    takes_seed = False

    def __init__(self, *cures: bool) -> None:
        self.broken = False
        self.cures = list(cures)
        self.discarded: list[Prepared] = []

    def prepare(self, lane: int, rows: Sequence[Pixels], bucket: int, seeds: Sequence[int]) -> Prepared:  # noqa: ARG002
        return Prepared(np.stack([*rows, *[rows[-1]] * (bucket - len(rows))]), len(rows))

    def discard(self, lane: int, prepared: Prepared) -> None:  # noqa: ARG002
        self.discarded.append(prepared)

    def run(self, lane: int, prepared: Prepared) -> list[Pixels]:  # noqa: ARG002
        if self.broken or (prepared.pixels == BAD).all(axis=(1, 2, 3)).any():
            raise InferenceFailed("no")
        return list(~prepared.pixels[: prepared.rows])

    def is_sound(self, lane: int) -> bool:  # noqa: ARG002
        return not self.broken

    def rebuild(self, lane: int) -> None:  # noqa: ARG002
        if not self.cures.pop(0):
            raise InferenceFailed("still broken")
        self.broken = False


class Around:
    """A runner, and what it tells."""

    def __init__(self, engine: Engine, threads: ThreadPoolExecutor, rebuilds: int = 3) -> None:
        self.told: list[bool] = []
        self.slept: list[float] = []
        self.metrics = Metrics()
        self.runner = EngineRunner(
            ModelFile("m", 1, Path("model.onnx")),
            engine,  # type: ignore[arg-type]
            threads,
            self.metrics.model("m", 1),
            rebuilds=rebuilds,
            on_sound=self.told.append,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def run(self, *pictures: Pixels, bucket: int | None = None) -> Sequence[Pixels]:
        work = [Work(picture) for picture in pictures]
        return await self.runner.run(0, await self.runner.prepare(0, work, bucket or len(work)))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def test_pictures_come_back_in_order_without_the_filling(threads: ThreadPoolExecutor) -> None:
    made = await Around(Engine(), threads).run(PICTURE, ~PICTURE, bucket=4)
    assert [picture.tolist() for picture in made] == [(~PICTURE).tolist(), PICTURE.tolist()]


async def test_picture_that_fails_is_not_the_engine_s_fault(threads: ThreadPoolExecutor) -> None:
    around = Around(Engine(), threads)
    with pytest.raises(InferenceFailed) as failed:
        await around.run(BAD)
    assert type(failed.value) is InferenceFailed
    assert around.told == []


async def test_engine_that_fails_on_any_picture_is_broken_and_is_mended(threads: ThreadPoolExecutor) -> None:
    engine = Engine(False, True)
    around = Around(engine, threads)
    engine.broken = True
    with pytest.raises(EngineBroken):
        await around.run(PICTURE)
    await around.runner.repair(0)
    assert around.told == [False, True], "not to be relied on meanwhile"
    assert around.slept == sorted(around.slept), "it is given more time each time"
    assert len(await around.run(PICTURE)) == 1
    sample = around.metrics.registry.get_sample_value
    assert sample("lapis_engine_failures_total", {"model": "m", "version": "1"}) == 2
    assert sample("lapis_engine_rebuilds_total", {"model": "m", "version": "1"}) == 1


async def test_engine_that_stays_broken_is_given_up(threads: ThreadPoolExecutor) -> None:
    around = Around(Engine(*[False] * 9), threads, rebuilds=2)
    with pytest.raises(EngineLost, match="model m version 1: the engine failed 3 times in a row"):
        await around.runner.repair(0)
    assert around.told == [False]


async def test_run_that_succeeds_ends_the_row_of_failures(threads: ThreadPoolExecutor) -> None:
    around = Around(Engine(*[True] * 9), threads, rebuilds=1)
    for _ in range(4):
        await around.runner.repair(0)
        await around.run(PICTURE)
    assert around.told == [False, True] * 4


async def test_what_will_not_run_goes_back_to_the_engine_where_it_was_staged(threads: ThreadPoolExecutor) -> None:
    engine = Engine()
    engine.stages = True
    runner = Around(engine, threads).runner
    job = await runner.prepare(0, [Work(PICTURE)], 1)
    runner.discard(0, job)
    assert [prepared.rows for prepared in engine.discarded] == [1]
