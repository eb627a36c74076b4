"""Pictures of any size by tiles, through the whole service."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import grpc
import numpy as np
import onnx
import pytest
from lapis.v1 import translation_pb2 as pb
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from service.engine.unbound import UnboundRuns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from service.engine.batch import Prepared
    from tests.service.conftest import Gate, Png, Repository, Service, Serving

    Pixels = NDArray[np.uint8]

Code = grpc.StatusCode
# Of a picture of this many pixels a side; neighbours overlap by one pixel.
SIDE, TILES = 78, 11 * 11
RAW = pb.OutputOptions(format=pb.PICTURE_FORMAT_RAW)
RAW_AT_INPUT_SIZE = pb.OutputOptions(format=pb.PICTURE_FORMAT_RAW, size=pb.OUTPUT_SIZE_INPUT)


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(height * width).integers(0, 250, (height, width, channels), np.uint8)


def tensor(picture: Pixels) -> pb.Tensor:
    height, width, channels = picture.shape
    return pb.Tensor(data=picture.tobytes(), height=height, width=width, channels=channels)


def tiled(picture: Pixels, output: pb.OutputOptions = RAW, **fields: Any) -> pb.TranslateRequest:  # noqa: ANN401
    return pb.TranslateRequest(tensor=tensor(picture), fit=pb.FIT_TILE, output=output, **fields)


def pixels(answer: pb.TranslateResponse) -> Pixels:
    if answer.WhichOneof("picture") == "tensor":
        raw = np.frombuffer(answer.tensor.data, np.uint8)
        return raw.reshape(answer.tensor.height, answer.tensor.width, answer.tensor.channels)
    return np.asarray(cv2.imdecode(np.frombuffer(answer.encoded, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The brightest level of each picture that went into the engine, run by run."""
    seen: list[list[int]] = []
    plain = UnboundRuns.run

    def run(runs: UnboundRuns, prepared: Prepared) -> list[Pixels]:
        seen.append([int(row.max()) for row in prepared.pixels[: prepared.rows]])
        return plain(runs, prepared)

    monkeypatch.setattr(UnboundRuns, "run", run)
    return seen


@pytest.fixture
def repository(repository: Repository) -> Repository:
    """Makes models of the kind "resize ROWS COLUMNS", too."""

    def make(models: Mapping[str, str]) -> Path:
        resizing = {place: kind.split()[1:] for place, kind in models.items() if kind.startswith("resize")}
        root = repository(dict(models) | dict.fromkeys(resizing, "identity"))
        for place, (rows, columns) in resizing.items():
            write_resizing(root / place / "model.onnx", float(rows), float(columns))
        return root

    return make


def write_resizing(path: Path, rows: float, columns: float) -> None:
    """Writes a model of 8 x 8 pixels that enlarges or shrinks, each pixel the nearest."""
    node = helper.make_node("Resize", ["image", "", "scales"], ["translation"], mode="nearest")
    shapes = [("image", ("N", 8, 8, 3)), ("translation", ("N", int(8 * rows), int(8 * columns), 3))]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in shapes]
    scales = numpy_helper.from_array(np.array([1, rows, columns, 1], np.float32), "scales")
    graph = helper.make_graph([node], "resize", values[:1], values[1:], [scales])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.mark.parametrize("size", [(70, 101), (8, 8), (9, 200), (3, 5), (1, 1), (8, 3)])
async def test_picture_of_any_size_is_translated_as_if_the_model_were_as_large(
    serving: Serving, size: tuple[int, int]
) -> None:
    picture = noise(*size)
    async with serving({"invert/1": "invert"}, max_batch_size=4) as service:
        answer = await service.stub.Translate(tiled(picture))
    np.testing.assert_array_equal(pixels(answer), 255 - picture)
    assert (answer.height, answer.width, answer.channels) == picture.shape


async def test_answer_tells_its_tiles_and_the_largest_batch(serving: Serving) -> None:
    async with serving({"invert/1": "invert"}, max_batch_size=4) as service:
        large = await service.stub.Translate(tiled(noise(22, 36)))
        small = await service.stub.Translate(tiled(noise(3, 8)))
        not_tiled = await service.stub.Translate(pb.TranslateRequest(tensor=tensor(noise(22, 36))))
    assert (large.tiles, small.tiles, not_tiled.tiles) == (3 * 5, 1, 1)
    assert 1 <= large.timings.batch_size <= 4
    for stage in ("decode", "infer", "encode"):
        assert getattr(large.timings, stage).ToNanoseconds() > 0


@pytest.mark.parametrize("size", [pb.OUTPUT_SIZE_MODEL, pb.OUTPUT_SIZE_INPUT])
@pytest.mark.parametrize("format_", [pb.PICTURE_FORMAT_PNG, pb.PICTURE_FORMAT_WEBP, pb.PICTURE_FORMAT_JPEG])
async def test_tiled_answer_comes_in_any_format_at_either_size(
    serving: Serving, png: Png, format_: int, size: int
) -> None:
    output = pb.OutputOptions(format=format_, size=size)  # type: ignore[arg-type]
    async with serving({"invert/1": "invert"}) as service:
        answer = await service.translate(png(55, 30, 40), fit=pb.FIT_TILE, output=output)
    assert (answer.format, answer.height, answer.width) == (format_, 30, 40)
    np.testing.assert_allclose(pixels(answer).astype(int), np.full((30, 40, 3), 200), atol=1)


async def test_grey_picture_is_tiled_for_a_model_of_colours(serving: Serving) -> None:
    picture = noise(20, 30, 1)
    async with serving({"invert/1": "invert"}) as service:
        answer = await service.stub.Translate(tiled(picture))
    np.testing.assert_array_equal(pixels(answer), np.repeat(255 - picture, 3, axis=2))


@pytest.mark.parametrize(
    "settings",
    [{"buckets": "1,4"}, {"instances": 2, "codec_threads": 2}, {"max_queue_delay": 0.001, "max_batch_size": 3}],
)
async def test_tiles_stay_in_order_however_they_are_run(serving: Serving, settings: dict[str, object]) -> None:
    picture = noise(SIDE, SIDE)
    async with serving({"invert/1": "invert"}, **settings) as service:
        answer = await service.stub.Translate(tiled(picture))
    np.testing.assert_array_equal(pixels(answer), 255 - picture)
    assert answer.tiles == TILES


async def test_picture_is_turned_upright_before_it_is_cut(serving: Serving) -> None:
    picture, file, exif = noise(10, 30), BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(file, "PNG", exif=exif)
    async with serving({"invert/1": "invert"}) as service:
        answer = await service.translate(file.getvalue(), fit=pb.FIT_TILE)
    np.testing.assert_array_equal(pixels(answer)[..., ::-1], 255 - np.rot90(picture, -1))


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (0.5, 0.25), (1.5, 1)])
async def test_answer_is_larger_or_smaller_by_as_much_as_the_models_is(
    serving: Serving, rows: float, columns: float
) -> None:
    picture = np.full((20, 30, 3), 77, np.uint8)
    async with serving({"resize/1": f"resize {rows} {columns}"}) as service:
        scaled = await service.stub.Translate(tiled(picture))
        restored = await service.stub.Translate(tiled(picture, RAW_AT_INPUT_SIZE))
    np.testing.assert_array_equal(pixels(scaled), np.full((int(20 * rows), int(30 * columns + 0.5), 3), 77))
    np.testing.assert_array_equal(pixels(restored), picture)


async def in_hand(service: Service, gate: Gate, tiles: int) -> None:
    """Waits until that many tiles are in the engine or before it."""
    await service.until(lambda: service.model.queue.depth + sum(gate.reached) == tiles)


@pytest.mark.parametrize("batch", [1, 4])
async def test_small_picture_waits_for_few_tiles_of_large_ones(
    serving: Serving, gate: Gate, runs: list[list[int]], png: Png, batch: int
) -> None:
    large = 3
    async with serving({"invert/1": "invert"}, max_batch_size=batch) as service:
        runs.clear()
        gate.close()
        pictures = [service.stub.Translate(tiled(noise(SIDE, SIDE))) for _ in range(large)]
        await in_hand(service, gate, large * 2 * batch)
        small = service.translate(png(255))
        await in_hand(service, gate, large * 2 * batch + 1)
        gate.open()
        await small
        assert [(await picture).tiles for picture in pictures] == [TILES] * large
    assert len(runs) >= large * TILES // batch
    turn = next(index for index, levels in enumerate(runs) if 255 in levels)
    assert turn <= 2 * large


async def test_few_tiles_of_a_picture_are_in_hand_at_a_time_and_count_with_it(serving: Serving, gate: Gate) -> None:
    picture = noise(SIDE, SIDE)
    async with serving({"invert/1": "invert"}, max_batch_size=4) as service:
        gate.close()
        call = service.stub.Translate(tiled(picture))
        await in_hand(service, gate, 8)
        await service.stub.ListModels(pb.ListModelsRequest())
        assert service.model.queue.depth + sum(gate.reached) == 8
        # As it came, as pixels, the answer; tiles and what becomes of them; a band of floats.
        assert service.model.admission.bytes >= 3 * picture.nbytes + 2 * 8 * 192 + 4 * 8 * SIDE * 3
        gate.open()
        await call
        assert service.model.admission.bytes == 0


async def test_tile_that_fails_fails_its_picture_and_no_more_of_it_runs(
    serving: Serving, runs: list[list[int]], png: Png
) -> None:
    picture = noise(SIDE, SIDE)
    picture[0, 0] = 255
    async with serving({"picky/1": "picky"}) as service:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await service.stub.Translate(tiled(picture))
        assert failed.value.code() is Code.INTERNAL
        assert sum(map(len, runs)) < TILES // 2
        assert (service.model.queue.depth, service.model.admission.requests) == (0, 0)
        assert (await service.translate(png(7))).tiles == 1


async def test_tiles_leave_with_their_caller(serving: Serving, gate: Gate) -> None:
    async with serving({"invert/1": "invert"}) as service:
        gate.close()
        call = service.stub.Translate(tiled(noise(SIDE, SIDE)))
        await in_hand(service, gate, 2)
        call.cancel()
        await service.until(lambda: service.model.queue.depth == 0)
        gate.open()
        await service.until(lambda: service.model.admission.requests == 0)
        assert gate.reached == [1]


async def test_format_that_cannot_hold_the_answer_is_refused_before_the_engine(
    serving: Serving, runs: list[list[int]]
) -> None:
    output = pb.OutputOptions(format=pb.PICTURE_FORMAT_WEBP)
    async with serving({"invert/1": "invert"}) as service:
        runs.clear()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.stub.Translate(tiled(noise(1, 16384), output))
    assert refused.value.code() is Code.INVALID_ARGUMENT
    assert "at most 16,383 along a side" in str(refused.value.details())
    assert not runs
