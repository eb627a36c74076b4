from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto

from service.engine.contract import PictureShape
from service.engine.engine import Engine
from service.engine.options import EngineOptions
from service.errors import InferenceFailed, StartupError
from tests.service.engine.conftest import Make, grey, on_cpu

if TYPE_CHECKING:
    from tests.service.conftest import WriteModel

BUNDLED = Path(__file__).parents[3] / "models/edges2emoji/1/model.onnx"
SHAPE = {"height": 8, "width": 8, "channels": 3}
DESCRIPTION = {"format": "lapis-model/1", "input": SHAPE, "output": SHAPE}
# Any size straight from arrays, and sizes with buffers of their own as on a GPU.
WAYS: list[dict[str, Any]] = [{"max_batch_size": 4}, {"buckets": (1, 4)}]


def translated(engine: Engine, levels: list[int], lane: int = 0) -> list[np.ndarray[Any, Any]]:
    """Runs grey pictures in the smallest bucket that takes them all."""
    bucket = next(size for size in engine.buckets if size >= len(levels))
    return list(engine.run(lane, engine.prepare(lane, [grey(level) for level in levels], bucket)))


def test_engine_tells_what_it_loaded(make: Make) -> None:
    engine = make(metadata=DESCRIPTION | {"batching": {"max_queue_delay": 0.005}})
    assert engine.input == engine.output == PictureShape(8, 8, 3)
    assert engine.provider == "CPUExecutionProvider"
    assert (engine.on_gpu, engine.gpu_mode, engine.lanes) == (False, "", 1)
    assert '"lapis-model/1"' in engine.metadata_json
    assert engine.max_queue_delay == 0.005


def test_digest_is_the_file_s(tmp_path: Path, write_model: WriteModel) -> None:
    path = write_model(tmp_path / "model.onnx")
    engine = Engine(path, on_cpu(), EngineOptions())
    assert engine.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("levels", [[7], [0, 7, 255], [1, 2, 3, 4]])
def test_every_picture_gets_its_own_translation(make: Make, way: dict[str, Any], levels: list[int]) -> None:
    results = translated(make(**way), levels)
    assert len(results) == len(levels)
    for level, result in zip(levels, results, strict=True):
        np.testing.assert_array_equal(result, grey(255 - level))


@pytest.mark.parametrize("way", WAYS)
def test_batch_is_filled_up_with_its_last_picture(make: Make, way: dict[str, Any]) -> None:
    prepared = make(**way).prepare(0, [grey(1), grey(2)], 4)
    assert prepared.rows == 2
    assert prepared.pixels[:, 0, 0, 0].tolist() == [1, 2, 2, 2]


def test_answers_outlive_the_runs_that_follow(make: Make) -> None:
    engine = make(buckets=(2,))
    first = translated(engine, [1, 2])
    translated(engine, [3, 4])
    np.testing.assert_array_equal(first, [grey(254), grey(253)])


def test_batches_prepared_ahead_keep_apart_and_their_buffers_are_used_again(make: Make) -> None:
    engine = make(buckets=(2,))
    first, second = (engine.prepare(0, [grey(level)], 2) for level in (1, 2))
    np.testing.assert_array_equal(engine.run(0, first)[0], grey(254))
    third = engine.prepare(0, [grey(3)], 2)
    assert np.shares_memory(third.pixels, first.pixels)
    np.testing.assert_array_equal(engine.run(0, second)[0], grey(253))
    np.testing.assert_array_equal(engine.run(0, third)[0], grey(252))


def test_buffer_given_back_twice_is_not_lent_to_two(make: Make) -> None:
    engine = make(buckets=(2,))
    prepared = engine.prepare(0, [grey(1)], 2)
    engine.discard(0, prepared)
    engine.discard(0, prepared)
    one, other = (engine.prepare(0, [grey(level)], 2) for level in (1, 2))
    assert np.shares_memory(one.pixels, prepared.pixels)
    assert not np.shares_memory(one.pixels, other.pixels)


@pytest.mark.parametrize("way", WAYS)
def test_lanes_run_at_once_without_mixing_pictures(make: Make, way: dict[str, Any]) -> None:
    engine = make(lanes=3, **way)

    def work(lane: int) -> bool:
        levels = [[lane, 50 + number, 100] for number in range(50)]
        return all(
            [result[0, 0, 0] for result in translated(engine, row, lane)] == [255 - level for level in row]
            for row in levels
        )

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(work, range(3))) == [True] * 3


@pytest.mark.parametrize("way", WAYS)
def test_failing_run_is_an_error_without_onnx_runtimes_words(
    make: Make, way: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    engine = make("picky", **way)
    engine.warm_up()
    with pytest.raises(InferenceFailed, match="the engine failed on this picture") as failure:
        translated(engine, [0, 255])
    assert "Gather" in str(failure.value.__cause__)
    assert engine.is_sound(0)
    np.testing.assert_array_equal(translated(engine, [9]), [grey(9)])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "warmed", "stages"),
    [
        ({}, [1], False),
        ({"max_batch_size": 6}, [1, 2, 4, 6], False),
        ({"buckets": (1, 3)}, [1, 3], True),
    ],
)
def test_warm_up_times_the_sizes_that_will_be_run(
    make: Make, options: dict[str, Any], warmed: list[int], *, stages: bool
) -> None:
    engine = make(lanes=2, **options)
    seconds = engine.warm_up()
    assert list(seconds) == warmed
    assert min(seconds.values()) > 0
    assert engine.stages == stages


def test_model_that_fails_on_a_blank_picture_fails_its_warm_up(make: Make) -> None:
    with pytest.raises(InferenceFailed):
        make("broken").warm_up()


def test_engine_that_gives_other_answers_than_before_is_not_sound(
    tmp_path: Path, write_model: WriteModel, make: Make
) -> None:
    engine = make("invert")
    engine.warm_up()
    assert engine.is_sound(0)
    write_model(tmp_path / "invert.onnx", "identity")
    with pytest.raises(InferenceFailed, match="does not give the answers of before"):
        engine.rebuild(0)
    assert not engine.is_sound(0)


def test_model_that_draws_random_numbers_is_sound_as_long_as_it_runs(dice: Path) -> None:
    engine = Engine(dice, on_cpu(), EngineOptions())
    engine.warm_up()
    assert engine.is_sound(0)
    engine.close()
    assert not engine.is_sound(0)


@pytest.mark.parametrize("way", WAYS)
def test_broken_engine_is_built_anew(make: Make, way: dict[str, Any]) -> None:
    engine = make(lanes=2, **way)
    engine.warm_up()
    engine.close()
    with pytest.raises(InferenceFailed):
        translated(engine, [7])
    assert not engine.is_sound(0)
    for lane in range(2):
        engine.rebuild(lane)
        assert engine.is_sound(lane)
        np.testing.assert_array_equal(translated(engine, [7], lane), [grey(248)])


def test_what_was_prepared_before_an_engine_was_built_anew_runs_on_the_new_one(make: Make) -> None:
    engine = make(buckets=(2,))
    engine.warm_up()
    prepared = engine.prepare(0, [grey(7)], 2)
    engine.close()
    engine.rebuild(0)
    np.testing.assert_array_equal(engine.run(0, prepared), [grey(248)])


def test_lanes_that_shared_the_broken_engine_take_the_new_one(make: Make) -> None:
    engine = make(lanes=2)
    engine.warm_up()
    engine.close()
    engine.rebuild(0)
    assert engine.is_sound(1)


def test_engine_whose_file_is_gone_cannot_be_built_anew(tmp_path: Path, make: Make) -> None:
    engine = make()
    engine.warm_up()
    (tmp_path / "invert.onnx").unlink()
    with pytest.raises(StartupError, match="cannot load it"):
        engine.rebuild(0)


@pytest.mark.parametrize("way", [{"buckets": (2, 4)}, {"max_batch_size": 4}])
def test_rows_of_the_bundled_model_are_the_same_bit_for_bit_in_any_batch(way: dict[str, Any]) -> None:
    rows = list(np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8))
    plain = Engine(BUNDLED, on_cpu(), EngineOptions(max_batch_size=1, buckets=()))
    batched = Engine(BUNDLED, on_cpu(), EngineOptions(**way))
    alone = [plain.run(0, plain.prepare(0, [row], 1))[0] for row in rows]
    np.testing.assert_array_equal(batched.run(0, batched.prepare(0, rows, 4)), alone)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": "pixels"}, "the graph's inputs are pixels; expected one called image, and one called seed"),
        ({"translation": "out"}, "the graph's outputs are out; expected one called translation"),
        (
            {"element": TensorProto.INT64, "kind": "identity"},
            r"image is tensor\(int64\); expected tensor\(uint8\) or tensor\(uint16\)",
        ),
        ({"input_shape": (1, 8, 8, 3)}, r"input image is \[1, 8, 8, 3\]; expected \[N, height"),
        ({"input_shape": ("N", "H", 8, 3)}, r"input image is \[N, H, 8, 3\]; expected \[N, height"),
        ({"input_shape": ("N", "H", "W", 3)}, "input's height and width are free, and the file does not say which"),
        ({"input_shape": ("N", 8, 8)}, r"input image is \[N, 8, 8\]; expected \[N, height"),
        ({"metadata": "{"}, "metadata 'lapis': Invalid JSON"),
        ({"metadata": {"format": "lapis-model/9"}}, "metadata 'lapis': format: Input should be 'lapis-model/1'"),
        (
            {"metadata": DESCRIPTION | {"input": {"height": 8, "width": 9, "channels": 3}}},
            "input is described as 8 x 9, 3 channels of uint8, but the graph's is 8 x 8, 3 channels of uint8",
        ),
        (
            {"metadata": DESCRIPTION | {"batching": {"buckets": [4, 2]}}},
            "metadata 'lapis': batching: .*buckets must be batch sizes",
        ),
    ],
)
def test_model_outside_the_contract_is_refused(
    tmp_path: Path, write_model: WriteModel, wrong: dict[str, Any], message: str
) -> None:
    path = write_model(tmp_path / "model.onnx", **wrong)
    with pytest.raises(StartupError, match=message) as refused:
        Engine(path, on_cpu(), EngineOptions())
    assert str(refused.value).startswith(f"{path}: ")
