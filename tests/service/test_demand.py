"""How much there is to do, as the service tells it to whatever scales it: done and refused, each request once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from lapis.v1 import translation_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.service.conftest import Gate, Png, Service, Serving

ONE_AT_A_TIME = {"instances": 1, "max_queue": 1, "max_batch_size": 1}


async def told(service: Service, name: str) -> float:
    text = (await service.get("/metrics")).text
    (found,) = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    ]
    return found


async def refused(service: Service, png: Png, **fields: object) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.translate(png(1), **fields)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_work_is_told_of_what_is_done(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert"}, **ONE_AT_A_TIME) as service:
        assert await told(service, "lapis_engine_work_seconds_total") == 0
        for level in range(3):
            await service.translate(png(level))
        work, busy = [await told(service, f"lapis_engine_{what}_seconds_total") for what in ("work", "busy")]
        assert 0 < work == pytest.approx(busy, rel=0.5)  # with batches of one, all of it but what the counting takes
        assert await told(service, "lapis_unmet_work_seconds_total") == 0


async def test_work_is_less_than_what_lanes_are_busy_for_where_fuller_batches_would_do(
    serving: Serving, png: Png
) -> None:
    async with serving({"m/1": "invert"}, instances=1, max_batch_size=8, buckets="8") as service:
        for level in range(3):  # each alone, and filled up
            await service.translate(png(level))
        work, busy = [await told(service, f"lapis_engine_{what}_seconds_total") for what in ("work", "busy")]
        assert 0 < work < busy / 4


async def test_request_that_there_is_no_room_for_counts_once(serving: Serving, png: Png, gate: Gate) -> None:
    async with serving({"m/1": "invert"}, **ONE_AT_A_TIME) as service:
        gate.close()
        first = service.translate(png(0))
        await service.until(lambda: service.model.admission.requests == 1)
        await refused(service, png)
        once = await told(service, "lapis_unmet_work_seconds_total")
        assert once == pytest.approx(service.model.queue.costs.seconds(1))
        await refused(service, png, previous_attempts=1)
        await refused(service, png, previous_attempts=2)
        assert await told(service, "lapis_unmet_work_seconds_total") == once
        gate.open()
        await first


async def test_large_picture_counts_for_all_of_its_tiles(serving: Serving, png: Png, gate: Gate) -> None:
    async with serving({"m/1": "invert"}, **ONE_AT_A_TIME) as service:
        gate.close()
        first = service.translate(png(0))
        await service.until(lambda: service.model.admission.requests == 1)
        with pytest.raises(grpc.aio.AioRpcError):
            await service.translate(png(1, 40, 30), fit=pb.FIT_TILE)
        unmet = await told(service, "lapis_unmet_work_seconds_total")
        assert unmet > 10 * service.model.queue.costs.seconds(1)
        gate.open()
        await first


async def test_deadline_that_no_replica_could_keep_asks_for_none(serving: Serving, png: Png, gate: Gate) -> None:
    async with serving({"m/1": "invert"}, **{**ONE_AT_A_TIME, "max_queue": 9}) as service:
        for _ in range(200):  # a run of many seconds, as far as is known
            service.model.queue.costs.observe(1, 60.0)
        gate.close()
        first = service.translate(png(0))
        await service.until(lambda: service.model.admission.requests == 1)
        await refused(service, png, timeout=Duration(seconds=1))
        assert await told(service, "lapis_unmet_work_seconds_total") == 0
        gate.open()
        await first


async def test_faults_and_refusals_begin_at_zero(serving: Serving) -> None:
    """What is first seen at 1 has not risen, as far as Prometheus can tell."""
    async with serving({"m/1": "invert"}) as service:
        text = (await service.get("/metrics")).text
    for method in ("Translate", "TranslateStream"):
        for code in ("INTERNAL", "UNAVAILABLE"):
            assert f'lapis_request_seconds_count{{code="{code}",method="{method}",model="m",version="1"}} 0.0' in text
    for reason in ("QUEUE_FULL", "DEADLINE_UNREACHABLE"):
        assert f'lapis_refused_requests_total{{model="m",reason="{reason}",version="1"}} 0.0' in text


async def test_number_of_attempts_below_none_is_refused(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert"}) as service:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await service.translate(png(0), previous_attempts=-1)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "previous_attempts is -1" in str(error.value.details())
