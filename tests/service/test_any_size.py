"""Models of any size, with seeds, and of 16 bits, through the whole service."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import grpc
import numpy as np
import pytest
from lapis.v1 import translation_pb2 as pb
from onnx import TensorProto
from PIL import Image

from service.scheduler.cost import CostModel
from tests.service.conftest import FREE, described

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.engine.contract import Pixels
    from tests.service.conftest import Gate, Repository, Service, Serving, WriteModel

Code = grpc.StatusCode
RAW = pb.OutputOptions(format=pb.PICTURE_FORMAT_RAW)
# By name: what the graph does, and what its metadata say.
MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "free": ("invert", described(64, 64, multiple=32, smallest=64)),
    "soften": ("soften", described(multiple=2)),
    "seeded": ("tint", described(noise="seeded")),
    "seeded-free": ("tint", described(noise="seeded", multiple=4)),
    "deep": ("invert", described(dtype="uint16")),
    "deep-free": ("invert", described(dtype="uint16", multiple=4)),
    "slow": ("slow", described(multiple=4)),
}


@pytest.fixture
def repository(tmp_path: Path, write_model: WriteModel) -> Repository:
    """Makes a repository of the models above, by name."""

    def make(models: Mapping[str, str]) -> Path:
        for place, name in models.items():
            kind, says = MODELS[name]
            side: Any = says["input"]
            shape = FREE if side.get("multiple") else ("N", side["height"], side["width"], 3)
            element = TensorProto.UINT16 if side.get("dtype") == "uint16" else TensorProto.UINT8
            path = tmp_path / "models" / place / "model.onnx"
            write_model(path, kind, input_shape=shape, metadata=says, element=element)
        return tmp_path / "models"

    return make


def random(height: int, width: int, dtype: type = np.uint8) -> Pixels:
    rng = np.random.default_rng(height * width)
    made: Pixels = rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)
    return made


def tensor(picture: Pixels) -> pb.Tensor:
    kind = pb.SAMPLE_TYPE_UINT16 if picture.dtype == np.uint16 else pb.SAMPLE_TYPE_UINT8
    height, width, channels = picture.shape
    return pb.Tensor(data=picture.tobytes(), height=height, width=width, channels=channels, sample_type=kind)


def translate(service: Service, picture: Pixels, **fields: Any) -> grpc.aio.UnaryUnaryCall[Any, pb.TranslateResponse]:  # noqa: ANN401
    request = pb.TranslateRequest(**{"tensor": tensor(picture), "output": RAW, **fields})
    return service.stub.Translate(request)


def pixels(answer: pb.TranslateResponse) -> Pixels:
    made = answer.tensor
    dtype = "<u2" if made.sample_type == pb.SAMPLE_TYPE_UINT16 else np.uint8
    return np.frombuffer(made.data, dtype).reshape(made.height, made.width, made.channels)


async def refused(service: Service, picture: Pixels, **fields: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await translate(service, picture, **fields)
    assert failure.value.code() is Code.INVALID_ARGUMENT
    return failure.value.details() or ""


@pytest.mark.parametrize("size", [(64, 64), (512, 1024), (1024, 1024), (1024, 96), (1024, 1280)])
async def test_picture_keeps_its_size(serving: Serving, size: tuple[int, int]) -> None:
    picture = random(*size)
    async with serving({"m/1": "free"}) as service:
        made = await translate(service, picture)
        file = await service.stub.Translate(pb.TranslateRequest(encoded=png(picture)))
    np.testing.assert_array_equal(pixels(made), ~picture)
    np.testing.assert_array_equal(opened(file.encoded), ~picture)


def png(picture: Pixels) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()


def opened(file: bytes) -> Pixels:
    bgr = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(bgr[..., ::-1])


async def test_network_with_neighbours_sees_the_whole_picture_at_any_size(serving: Serving) -> None:
    """A picture translated at its own size has no seams, and a part far from its rim is the same in any cut."""
    picture = random(96, 160)
    async with serving({"m/1": "soften"}) as service:
        whole = pixels(await translate(service, picture))
        part = pixels(await translate(service, picture[16:80, 32:128]))
    np.testing.assert_array_equal(part[4:-4, 4:-4], whole[20:76, 36:124])


async def test_size_that_is_no_multiple_is_refused_with_those_that_are_and_the_nearest(serving: Serving) -> None:
    async with serving({"m/1": "free"}) as service:
        message = await refused(service, random(100, 130))
        assert "any multiple of 32 pixels from 64 on" in message
        assert "128 x 96 and 160 x 128" in message
        assert "from 64 on" in await refused(service, random(32, 64))
        assert "from 64 on" in await refused(service, random(64, 64), fit=pb.FIT_NONE, encoded=png(random(40, 64)))


@pytest.mark.parametrize(
    ("fit", "size"), [(pb.FIT_STRETCH, (96, 128)), (pb.FIT_PAD, (128, 160)), (pb.FIT_CROP, (96, 128))]
)
async def test_other_fits_bring_a_picture_to_a_size_near_its_own(
    serving: Serving, fit: pb.Fit.ValueType, size: tuple[int, int]
) -> None:
    async with serving({"m/1": "free"}) as service:
        made = await translate(service, random(100, 130), fit=fit)
        output = pb.OutputOptions(format=pb.PICTURE_FORMAT_RAW, size=pb.OUTPUT_SIZE_INPUT)
        back = await translate(service, random(100, 130), fit=fit, output=output)
    assert (made.height, made.width) == size
    assert (back.height, back.width) == ((96, 128) if fit == pb.FIT_CROP else (100, 130))


async def test_upright_of_a_turned_photograph_is_what_counts(serving: Serving) -> None:
    picture = random(64, 96)
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(picture).save(file, "PNG", exif=exif)
    async with serving({"m/1": "free"}) as service:
        made = await service.stub.Translate(pb.TranslateRequest(encoded=file.getvalue()))
    np.testing.assert_array_equal(opened(made.encoded), np.rot90(~picture, -1))


async def test_picture_larger_than_the_limit_is_refused_with_the_limit_and_goes_in_tiles(serving: Serving) -> None:
    async with serving({"m/1": "free"}, max_model_pixels=20_000) as service:
        message = await refused(service, random(256, 128))
        assert "128 x 256 = 32,768 pixels at once; at most 20,000 are accepted" in message
        assert "FIT_TILE" in message
        assert (await translate(service, random(128, 128))).height == 128
        tiled = await translate(service, random(256, 128), fit=pb.FIT_TILE)
    assert tiled.tiles == 5 * 3
    np.testing.assert_allclose(pixels(tiled), ~random(256, 128), atol=1)


async def test_size_that_the_model_was_made_for_is_accepted_whatever_the_limit(serving: Serving) -> None:
    async with serving({"m/1": "free"}, max_model_pixels=1) as service:
        np.testing.assert_array_equal(pixels(await translate(service, random(64, 64))), ~random(64, 64))


@pytest.mark.parametrize("settings", [{"max_batch_size": 4}, {"buckets": "2,4"}, {"instances": 2, "max_batch_size": 4}])
async def test_many_sizes_at_once_come_back_right(serving: Serving, gate: Gate, settings: dict[str, object]) -> None:
    sizes = [(64, 64), (512, 1024), (64, 96), (1024, 512), (96, 64)]
    pictures = [random(*sizes[number % len(sizes)]) ^ np.uint8(number) for number in range(40)]
    async with serving({"m/1": "free"}, **settings) as service:
        service.model.queue.costs = CostModel({1: 1.0, 4: 1.1})  # or a batch might not be worth it
        gate.close()
        calls = [asyncio.ensure_future(translate(service, picture)) for picture in pictures]
        await service.until(lambda: service.model.queue.depth + sum(gate.reached) == len(pictures))
        gate.open()
        answers = await asyncio.gather(*calls)
    for picture, answer in zip(pictures, answers, strict=True):
        np.testing.assert_array_equal(pixels(answer), ~picture)
    assert max(answer.timings.batch_size for answer in answers) > 1, "those of one size run together"


async def test_large_picture_counts_with_its_own_bytes(serving: Serving, gate: Gate) -> None:
    async with serving({"m/1": "free"}) as service:
        gate.close()
        call = asyncio.ensure_future(translate(service, random(512, 256)))
        await service.until(lambda: gate.reached == [1])
        assert service.model.admission.bytes == 3 * 512 * 256 * 3
        gate.open()
        await call


async def test_deadline_that_a_large_picture_cannot_keep_is_refused_and_a_small_one_s_is_not(
    serving: Serving, gate: Gate
) -> None:
    async with serving({"m/1": "free"}) as service:
        service.model.queue.costs = CostModel({1: 1.0})
        gate.close()
        held = asyncio.ensure_future(translate(service, random(64, 64)))
        await service.until(lambda: gate.reached == [1])
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await service.stub.Translate(pb.TranslateRequest(tensor=tensor(random(256, 256)), output=RAW), timeout=10)
        assert failure.value.code() is Code.RESOURCE_EXHAUSTED
        small = asyncio.ensure_future(
            service.stub.Translate(pb.TranslateRequest(tensor=tensor(random(64, 64)), output=RAW), timeout=10)
        )
        await service.until(lambda: service.model.queue.depth == 1)
        gate.open()
        await asyncio.gather(held, small)


@pytest.mark.parametrize("name", ["seeded", "seeded-free"])
@pytest.mark.parametrize("settings", [{"max_batch_size": 4}, {"buckets": "4"}])
async def test_seeds_in_one_batch_do_not_disturb_each_other(
    serving: Serving, gate: Gate, name: str, settings: dict[str, object]
) -> None:
    picture, seeds = random(8, 8), [5, None, 2**62, -1, 7]
    async with serving({"m/1": name}, **settings) as service:
        service.model.queue.costs = CostModel({1: 1.0, 4: 1.1})
        gate.close()
        calls = [asyncio.ensure_future(translate(service, picture))]
        await service.until(lambda: gate.reached == [1])
        calls += [asyncio.ensure_future(translate(service, picture, seed=seed)) for seed in seeds]
        await service.until(lambda: service.model.admission.requests == len(calls))
        gate.open()
        _, *answers = await asyncio.gather(*calls)
    assert max(answer.timings.batch_size for answer in answers) > 1
    for seed, answer in zip(seeds, answers, strict=True):
        assert answer.seed == (seed or 0)
        assert answer.HasField("seed")
        np.testing.assert_array_equal(pixels(answer), (picture.astype(object) + (seed or 0)) % 256)


async def test_seed_for_a_model_that_takes_none_is_refused(serving: Serving) -> None:
    async with serving({"m/1": "free"}) as service:
        assert "seed is 0, but the model takes none" in await refused(service, random(64, 64), seed=0)
        assert not (await translate(service, random(64, 64))).HasField("seed")


async def test_every_tile_gets_the_seed(serving: Serving) -> None:
    picture = random(20, 30) // 2
    async with serving({"m/1": "seeded-free"}) as service:
        made = await translate(service, picture, fit=pb.FIT_TILE, seed=9)
    assert made.tiles > 1
    assert made.seed == 9
    np.testing.assert_allclose(pixels(made), picture + 9, atol=1)


async def test_answers_are_kept_by_seed_and_size(serving: Serving) -> None:
    picture = random(8, 8)
    async with serving({"m/1": "seeded-free"}, cache_bytes=1_000_000) as service:
        answers = [await translate(service, picture, seed=seed) for seed in (1, 2, 1)]
        unset = [await translate(service, picture, **seed) for seed in ({}, {"seed": 0})]
        tall = await translate(service, picture.reshape(16, 4, 3), seed=1)
    assert [answer.cached for answer in answers] == [False, False, True]
    assert [answer.cached for answer in unset] == [False, True]
    assert not tall.cached
    assert answers[2].seed == 1
    np.testing.assert_array_equal(pixels(answers[2]), pixels(answers[0]))


@pytest.mark.parametrize("name", ["deep", "deep-free"])
@pytest.mark.parametrize("settings", [{}, {"buckets": "2"}])
async def test_16_bits_go_in_and_come_out_bit_for_bit(serving: Serving, name: str, settings: dict[str, object]) -> None:
    picture = random(8, 8, np.uint16)
    async with serving({"m/1": name}, **settings) as service:
        raw = await translate(service, picture)
        file = await service.stub.Translate(pb.TranslateRequest(encoded=png(picture)))
        described_ = (await service.stub.GetModel(pb.GetModelRequest())).model
    assert raw.tensor.sample_type == pb.SAMPLE_TYPE_UINT16
    np.testing.assert_array_equal(pixels(raw), ~picture)
    np.testing.assert_array_equal(opened(file.encoded), ~picture)
    assert described_.input.sample_type == pb.SAMPLE_TYPE_UINT16


async def test_8_bits_become_16_for_a_model_that_takes_them(serving: Serving) -> None:
    picture = random(8, 8)
    async with serving({"m/1": "deep"}) as service:
        made = await translate(service, picture)
    np.testing.assert_array_equal(pixels(made), 65535 - picture.astype(np.uint16) * 257)


async def test_16_bits_go_in_tiles(serving: Serving) -> None:
    picture = random(20, 30, np.uint16)
    async with serving({"m/1": "deep"}) as service:
        made = await translate(service, picture, fit=pb.FIT_TILE)
    np.testing.assert_allclose(pixels(made), ~picture, atol=1)


async def test_what_the_model_takes_is_told(serving: Serving) -> None:
    async with serving({"m/1": "free"}) as service:
        given = (await service.stub.GetModel(pb.GetModelRequest())).model.input
    assert (given.height, given.width, given.multiple, given.smallest) == (64, 64, 32, 64)
