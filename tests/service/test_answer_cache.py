"""The cache of answers, through the whole service."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from lapis.v1 import translation_pb2 as pb
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.service.conftest import Gate, Png, Service, Serving

    Pixels = NDArray[np.uint8]

ROOM = 1_000_000
PICTURE = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
AT_INPUT_SIZE = pb.OUTPUT_SIZE_INPUT


def tensor(picture: Pixels) -> pb.Tensor:
    height, width, channels = picture.shape
    return pb.Tensor(data=picture.tobytes(), height=height, width=width, channels=channels)


def request(picture: Pixels = PICTURE, **fields: object) -> pb.TranslateRequest:
    return pb.TranslateRequest(**{"tensor": tensor(picture), **fields})


def output(**fields: object) -> pb.OutputOptions:
    return pb.OutputOptions(**fields)


async def lookups(service: Service) -> dict[str, float]:
    """What the metrics tell of looks into the cache, by result."""
    families = text_string_to_metric_families((await service.get("/metrics")).text)
    samples = [sample for family in families for sample in family.samples]
    return {sample.labels["result"]: sample.value for sample in samples if sample.name == "lapis_cache_lookups_total"}


async def test_second_request_gets_the_first_ones_answer_and_no_engine(serving: Serving, gate: Gate) -> None:
    async with serving({"invert/1": "invert"}, cache_bytes=ROOM) as service:
        gate.close()
        gate.open()
        first = await service.stub.Translate(request(request_id="first"))
        again = await service.stub.Translate(request(request_id="again"))
        assert gate.reached == [1]
        assert await lookups(service) == {"hit": 1, "miss": 1}
    assert (first.cached, again.cached) == (False, True)
    assert (first.timings.batch_size, again.timings.batch_size) == (1, 0)
    assert (first.request_id, again.request_id) == ("first", "again")
    for answer in (first, again):
        answer.ClearField("timings")
        answer.ClearField("request_id")
        answer.ClearField("cached")
    assert again == first


async def test_answers_are_not_kept_unless_asked_for(serving: Serving, gate: Gate) -> None:
    async with serving({"invert/1": "invert"}) as service:
        gate.close()
        gate.open()
        assert not (await service.stub.Translate(request())).cached
        assert not (await service.stub.Translate(request())).cached
        assert gate.reached == [1, 1]
        assert sum((await lookups(service)).values()) == 0


@pytest.mark.parametrize(
    "other",
    [
        {"fit": pb.FIT_PAD},
        {"fit": pb.FIT_CROP},
        {"fit": pb.FIT_TILE},
        {"output": output(format=pb.PICTURE_FORMAT_RAW)},
        {"output": output(format=pb.PICTURE_FORMAT_JPEG)},
        {"output": output(format=pb.PICTURE_FORMAT_JPEG, quality=50)},
        {"output": output(size=AT_INPUT_SIZE)},
        {"tensor": tensor(255 - PICTURE)},
        {"tensor": tensor(PICTURE[:, ::-1])},
        {"tensor": tensor(PICTURE.reshape(20, 12, 3))},
        {"tensor": tensor(PICTURE[..., :1])},
        {"version": "2"},
        {"model": "identity"},
    ],
)
async def test_anything_that_the_answer_depends_on_makes_it_another(
    serving: Serving, gate: Gate, other: dict[str, object]
) -> None:
    models = {"invert/1": "invert", "invert/2": "identity", "identity/1": "identity"}
    usual = {"model": "invert", "version": "1", "output": output(format=pb.PICTURE_FORMAT_PNG)}
    async with serving(models, cache_bytes=ROOM, version_policy="all") as service:
        await service.stub.Translate(request(**usual))
        gate.close()
        gate.open()
        different = await service.stub.Translate(request(**{**usual, **other}))
        assert not different.cached
        assert gate.reached
        assert (await service.stub.Translate(request(**{**usual, **other}))).cached


async def test_same_pixels_in_another_file_have_the_same_answer(serving: Serving) -> None:
    def saved(form: str, **options: object) -> bytes:
        file = BytesIO()
        Image.fromarray(PICTURE).save(file, form, **options)
        return file.getvalue()

    files = [saved("PNG"), saved("PNG", compress_level=0), saved("WEBP", lossless=True)]
    async with serving({"invert/1": "invert"}, cache_bytes=ROOM) as service:
        answers = [await service.translate(file, output=output(size=AT_INPUT_SIZE)) for file in files]
    assert [answer.cached for answer in answers] == [False, True, True]
    assert len({answer.encoded for answer in answers}) == 1


async def test_who_asks_and_how_urgently_does_not_count(serving: Serving) -> None:
    async with serving({"invert/1": "invert"}, cache_bytes=ROOM) as service:
        await service.stub.Translate(request(priority=pb.PRIORITY_LOW))
        again = await service.stub.Translate(request(priority=pb.PRIORITY_HIGH), timeout=60)
    assert again.cached


async def test_cached_answer_by_tiles_tells_its_tiles(serving: Serving) -> None:
    async with serving({"invert/1": "invert"}, cache_bytes=ROOM) as service:
        answers = [await service.stub.Translate(request(fit=pb.FIT_TILE)) for _ in range(2)]
    assert [(answer.cached, answer.tiles) for answer in answers] == [(False, 6), (True, 6)]
    assert answers[0].encoded == answers[1].encoded


async def test_answers_make_room_for_others(serving: Serving, png: Png) -> None:
    async with serving({"invert/1": "invert"}, cache_bytes=20_000) as service:
        for level in (1, *range(2, 40), 1):
            answer = await service.translate(png(level))
            assert not answer.cached


async def test_failures_are_not_kept(serving: Serving, png: Png) -> None:
    async with serving({"picky/1": "picky"}, cache_bytes=ROOM) as service:
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await service.translate(png(255))
            assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert await lookups(service) == {"miss": 2}


async def test_cached_answer_is_given_while_the_engine_is_busy(serving: Serving, gate: Gate, png: Png) -> None:
    async with serving({"invert/1": "invert"}, cache_bytes=ROOM) as service:
        await service.translate(png(1))
        gate.close()
        busy = service.translate(png(2))
        await service.until(lambda: bool(gate.reached))
        assert (await service.translate(png(1))).cached
        gate.open()
        assert not (await busy).cached
