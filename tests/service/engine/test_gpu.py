"""The engine on a GPU; everything but the device itself is tested on the CPU as well, with buckets switched on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto

from service.engine import tensorrt
from service.engine.cuda import gpu_count, gpu_name
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.engine.placement import Placement, place
from service.errors import InferenceFailed
from tests.service.conftest import FREE, described
from tests.service.engine.conftest import on_cpu

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.engine.options import GpuMode
    from tests.service.conftest import WriteModel
    from tests.service.engine.conftest import Pixels

BUNDLED = Path(__file__).parents[3] / "models/edges2emoji/1/model.onnx"
# Levels of 255 that TF32 may be off.
TOLERANCE = 8

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not gpu_count(), reason="no NVIDIA GPU in this process' sight")]


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (5, 256, 256, 3), np.uint8))


@pytest.fixture(scope="module")
def expected(pictures: list[Pixels]) -> list[Pixels]:
    engine = Engine(BUNDLED, on_cpu(), EngineOptions())
    return [engine.run(0, engine.prepare(0, [picture], 1))[0] for picture in pictures]


@pytest.fixture(scope="module", params=["graphs", "sessions"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    mode: GpuMode = request.param
    options = EngineOptions(devices=("cuda:0",), instances=2, gpu_mode=mode)
    engine = Engine(BUNDLED, place(BUNDLED, options), options)
    engine.warm_up()
    yield engine
    engine.close()


def off(made: list[Pixels], expected: list[Pixels]) -> int:
    return int(np.abs(np.array(made, np.int16) - np.array(expected, np.int16)).max())


def test_gpu_has_a_name() -> None:
    assert gpu_name(0)


def test_every_bucket_gives_the_answers_of_the_cpu(
    engine: Engine, pictures: list[Pixels], expected: list[Pixels]
) -> None:
    assert engine.provider == "CUDAExecutionProvider"
    for bucket in engine.buckets:
        rows = pictures[:bucket]
        for lane in range(engine.lanes):
            assert off(engine.run(lane, engine.prepare(lane, rows, bucket)), expected[:bucket]) <= TOLERANCE


def test_lanes_run_at_once_from_any_thread(engine: Engine, pictures: list[Pixels], expected: list[Pixels]) -> None:
    def work(number: int) -> int:
        lane, row = number % 2, number % 5
        return off(engine.run(lane, engine.prepare(lane, [pictures[row]], 2)), [expected[row]])

    with ThreadPoolExecutor(6) as threads:
        assert max(threads.map(work, range(60))) <= TOLERANCE


def test_engine_is_sound_and_can_be_built_anew(engine: Engine, pictures: list[Pixels], expected: list[Pixels]) -> None:
    assert engine.is_sound(0)
    engine.rebuild(0)
    assert engine.is_sound(0)
    assert off(engine.run(0, engine.prepare(0, pictures[:1], 1)), expected[:1]) <= TOLERANCE


def test_faster_way_to_drive_the_gpu_is_found(pictures: list[Pixels], expected: list[Pixels]) -> None:
    options = EngineOptions(devices=("auto",), buckets=(2,))
    placed = place(BUNDLED, options)
    assert [lane.device for lane in placed.lanes] == ["cuda:0"]
    engine = Engine(BUNDLED, placed, options)
    assert engine.gpu_mode in {"graphs", "sessions"}
    engine.warm_up()
    assert off(engine.run(0, engine.prepare(0, pictures[:1], 2)), expected[:1]) <= TOLERANCE
    engine.close()
    with pytest.raises(InferenceFailed):
        engine.run(0, engine.prepare(0, pictures[:1], 2))


def test_model_that_cannot_be_recorded_runs_in_sessions(tmp_path: Path, write_model: WriteModel) -> None:
    path = write_model(tmp_path / "model.onnx", "slow")  # it has a loop
    options = EngineOptions(devices=("cuda:0",), buckets=(1,))
    engine = Engine(path, place(path, options), options)
    assert engine.gpu_mode == "sessions"
    engine.warm_up()
    picture = np.full((8, 8, 3), 3, np.uint8)
    np.testing.assert_array_equal(engine.run(0, engine.prepare(0, [picture], 1)), [255 - picture])


def free(path: Path, write_model: WriteModel, kind: str, element: int = TensorProto.UINT8, **says: Any) -> Engine:  # noqa: ANN401
    shape = FREE if says.get("multiple") else ("N", 8, 8, 3)
    write_model(path, kind, input_shape=shape, metadata=described(**says), element=element)
    options = EngineOptions(devices=("cuda:0",), max_batch_size=4)
    engine = Engine(path, place(path, options), options)
    engine.warm_up()
    return engine


def test_any_size_is_run(tmp_path: Path, write_model: WriteModel) -> None:
    engine = free(tmp_path / "model.onnx", write_model, "soften", multiple=2)
    assert engine.gpu_mode == ""
    assert engine.try_other_sizes(1e-6)
    for size in [(8, 8), (64, 128), (2, 130), (8, 8)]:
        rows = list(np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8))
        together = engine.run(0, engine.prepare(0, rows, 4))
        apart = [engine.run(0, engine.prepare(0, [row], 1))[0] for row in rows]
        assert off(together, apart) <= TOLERANCE
    engine.rebuild(0)
    assert engine.is_sound(0)


@pytest.mark.parametrize("multiple", [0, 2])
def test_seeds_and_16_bits_come_back_as_they_should(tmp_path: Path, write_model: WriteModel, multiple: int) -> None:
    rows, seeds = list(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)), (1, 5, 2**40)
    engine = free(tmp_path / "seeded.onnx", write_model, "tint", multiple=multiple, noise="seeded")
    for _ in range(4):  # recorded, and then played
        made = engine.run(0, engine.prepare(0, rows, 4, seeds))
        for row, seed, one in zip(rows, seeds, made, strict=True):
            np.testing.assert_array_equal(one, (row.astype(np.int64) + seed) % 256)
    deep = free(tmp_path / "deep.onnx", write_model, "invert", TensorProto.UINT16, multiple=multiple, dtype="uint16")
    wide = [row.astype(np.uint16) * 251 for row in rows]
    np.testing.assert_array_equal(deep.run(0, deep.prepare(0, wide, 4)), [65535 - row for row in wide])


@pytest.mark.slow
def test_tensorrt_gives_the_answers_of_the_cpu_and_keeps_what_it_built(
    tmp_path: Path, pictures: list[Pixels], expected: list[Pixels]
) -> None:
    if not tensorrt.preload():
        pytest.skip("TensorRT is not installed")
    options = EngineOptions(devices=("tensorrt:0",), buckets=(1, 4), engine_cache=tmp_path)
    placed: Placement = place(BUNDLED, options)
    engine = Engine(BUNDLED, placed, options)
    assert (engine.provider, engine.gpu_mode) == ("TensorrtExecutionProvider", "")
    engine.warm_up()
    assert off(engine.run(0, engine.prepare(0, pictures[:3], 4)), expected[:3]) <= TOLERANCE
    assert list(tmp_path.rglob("*.engine"))
