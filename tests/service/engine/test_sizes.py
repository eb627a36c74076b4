"""Models of any size, with seeds, and of 16 bits, on real graphs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto

from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.errors import InferenceFailed, StartupError
from tests.service.conftest import FREE, described
from tests.service.engine.conftest import on_cpu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Protocol

    from service.engine.contract import Pixels
    from tests.service.conftest import WriteModel

    class Load(Protocol):
        def __call__(self, kind: str, *, metadata: dict[str, object], **options: Any) -> Engine: ...  # noqa: ANN401


SIZES = [(8, 8), (4, 6), (64, 128), (130, 2)]
# Straight from arrays, and in sizes that are filled up.
WAYS: list[dict[str, Any]] = [{"max_batch_size": 4}, {"buckets": (1, 4)}]
ANY_SIZE = described(multiple=2)


@pytest.fixture
def load(tmp_path: Path, write_model: WriteModel) -> Iterator[Load]:
    """Loads a model of any size, or of 8 x 8 where its metadata say so, on two lanes of the CPU."""
    engines: list[Engine] = []

    def load(kind: str, *, metadata: dict[str, object], **options: Any) -> Engine:  # noqa: ANN401
        side: Any = metadata["input"]
        shape = FREE if side.get("multiple") else ("N", side["height"], side["width"], side["channels"])
        element = TensorProto.UINT16 if side.get("dtype") == "uint16" else TensorProto.UINT8
        path = write_model(tmp_path / f"{kind}.onnx", kind, input_shape=shape, metadata=metadata, element=element)
        engines.append(Engine(path, on_cpu(2), EngineOptions(**options)))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


def random(*shape: int, dtype: type = np.uint8) -> Pixels:
    made: Pixels = np.random.default_rng(sum(shape)).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return made


def run(engine: Engine, rows: list[Pixels], bucket: int, seeds: tuple[int, ...] = (), lane: int = 0) -> list[Pixels]:
    return engine.run(lane, engine.prepare(lane, rows, bucket, seeds))


@pytest.mark.parametrize("way", WAYS)
def test_any_size_is_run_and_rows_are_the_same_in_any_batch(load: Load, way: dict[str, Any]) -> None:
    engine = load("soften", metadata=ANY_SIZE, **way)
    engine.warm_up()
    for size in [*SIZES, *reversed(SIZES)]:
        rows = list(random(3, *size, 3))
        made = run(engine, rows, 4)
        assert {one.shape for one in made} == {(*size, 3)}
        for row, one in zip(rows, made, strict=True):
            np.testing.assert_array_equal(run(engine, [row], 1, lane=1)[0], one)
    assert engine.is_sound(0)
    assert not engine.stages


def test_engine_of_any_size_can_be_built_anew(load: Load) -> None:
    engine = load("soften", metadata=ANY_SIZE)
    engine.warm_up()
    engine.close()
    engine.rebuild(0)
    assert run(engine, [random(12, 4, 3)], 1, lane=1)[0].shape == (12, 4, 3)


def test_other_sizes_are_tried_before_the_first_request(load: Load) -> None:
    engine = load("soften", metadata=described(multiple=2, smallest=4), max_model_pixels=1000)
    seconds = engine.warm_up()
    assert list(seconds) == [1]
    tried = engine.try_other_sizes(1e-6)
    assert list(tried) == [(4, 6), (30, 30)]
    assert min(tried.values()) > 0
    assert list(engine.try_other_sizes(10.0)) == [(4, 6)], "the largest takes too long"
    assert engine.longest_side == math.inf


def test_model_of_one_size_has_no_other_to_try(load: Load) -> None:
    assert load("invert", metadata=described()).try_other_sizes(1.0) == {}


def test_model_that_does_not_take_what_it_says_is_refused(load: Load) -> None:
    engine = load("stuck", metadata=described(multiple=2))
    engine.warm_up()
    with pytest.raises(StartupError, match="the model fails on a blank picture of 2 x 4, a size that it takes by its"):
        engine.try_other_sizes(1.0)


def test_model_whose_answers_have_another_size_than_it_says_is_refused(load: Load) -> None:
    larger = ANY_SIZE | {"output": {"height": 16, "width": 16, "channels": 3, "multiple": 2}}
    engine = load("soften", metadata=larger)
    with pytest.raises(StartupError, match=r"the model makes \[2, 4, 3\] of 2 x 4; expected \[4, 8, 3\]"):
        engine.try_other_sizes(1.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("metadata", [described(noise="seeded"), described(noise="seeded", multiple=2)])
def test_seeds_of_a_batch_do_not_disturb_each_other(
    load: Load, way: dict[str, Any], metadata: dict[str, object]
) -> None:
    engine = load("tint", metadata=metadata, **way)
    engine.warm_up()
    assert engine.takes_seed
    rows, seeds = list(random(3, 8, 8, 3)), (0, 77, 2**40 + 3)
    made = run(engine, rows, 4, seeds)
    for row, seed, one in zip(rows, seeds, made, strict=True):
        np.testing.assert_array_equal(one, (row.astype(np.int64) + seed) % 256)
        np.testing.assert_array_equal(run(engine, [row], 1, (seed,), lane=1)[0], one)
    assert engine.is_sound(0)


@pytest.mark.parametrize("way", WAYS)
def test_filling_takes_the_last_seed(load: Load, way: dict[str, Any]) -> None:
    prepared = load("tint", metadata=described(noise="seeded"), **way).prepare(0, list(random(2, 8, 8, 3)), 4, (5, 6))
    assert prepared.seeds is not None
    assert (prepared.seeds.tolist(), prepared.seeds.dtype) == ([5, 6, 6, 6], np.int64)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("metadata", [described(dtype="uint16"), described(dtype="uint16", multiple=2)])
def test_samples_of_16_bits_go_in_and_come_out(load: Load, way: dict[str, Any], metadata: dict[str, object]) -> None:
    engine = load("invert", metadata=metadata, **way)
    engine.warm_up()
    rows = list(random(3, 8, 8, 3, dtype=np.uint16))
    made = run(engine, rows, 4)
    assert {one.dtype for one in made} == {np.dtype(np.uint16)}
    np.testing.assert_array_equal(made, [65535 - row for row in rows])
    assert engine.is_sound(1)
    assert engine.input.nbytes == 8 * 8 * 3 * 2


def test_seed_that_is_missing_is_an_error_of_the_engine(load: Load) -> None:
    with pytest.raises(InferenceFailed):
        run(load("tint", metadata=described(noise="seeded")), [random(8, 8, 3)], 1)
