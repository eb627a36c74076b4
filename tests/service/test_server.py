from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lapis.v1 import translation_pb2 as pb

from service.errors import EngineLost
from service.scheduler.lanes import Lanes

if TYPE_CHECKING:
    from tests.service.conftest import Gate, Png, Serving


async def test_draining_server_finishes_what_it_has_and_refuses_what_comes(
    serving: Serving, png: Png, gate: Gate
) -> None:
    async with serving({"m/1": "invert"}) as service:
        health: Any = health_pb2_grpc.HealthStub(service.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="m"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        gate.close()
        accepted = asyncio.ensure_future(service.translate(png(1)))
        await service.until(lambda: gate.reached == [1])
        service.stop.set()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(png(2))
        listed = await service.stub.ListModels(pb.ListModelsRequest())
        assert (await service.get("/readyz")).status_code == 503
        gate.open()
        assert (await accepted).encoded
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "model m version 1 is draining; try again later"
    assert [model.state for model in listed.models] == [pb.MODEL_STATE_DRAINING]
    assert gate.reached == [1]


async def test_server_without_requests_stops_without_delay(serving: Serving) -> None:
    async with serving({"m/1": "invert"}, grace_period=0) as service:
        service.stop.set()
    with pytest.raises(httpx.ConnectError):
        await service.get("/livez")


async def test_engine_that_stays_broken_ends_the_server(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(_: Lanes[Any, Any]) -> None:
        raise EngineLost("the engine failed 4 times in a row")

    monkeypatch.setattr(Lanes, "run", lost)
    with pytest.raises(ExceptionGroup) as ended:
        async with serving({"m/1": "invert"}) as service:
            await service.stop.wait()
    assert [type(error) for error in ended.value.exceptions] == [EngineLost]


async def test_gpu_that_is_not_there_leaves_the_model_failed(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert"}, wait=False, devices="cuda") as service:
        model = service.server.registry.models[0]
        await service.until(lambda: model.state.value != "loading")
        if model.is_ready:
            pytest.skip("there is a GPU here")
        assert "asked for a GPU" in model.failure
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(png(0))
        answer = await service.stub.GetModel(pb.GetModelRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert answer.model.state == pb.MODEL_STATE_FAILED
    assert not answer.model.provider


async def test_callers_who_were_answered_or_left_leave_no_task_behind(serving: Serving, png: Png, gate: Gate) -> None:
    async def tasks() -> float:
        lines = (await service.get("/metrics")).text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("lapis_event_loop_tasks ")))

    async with serving({"m/1": "invert"}) as service:
        await service.translate(png(1))
        before = await tasks()
        gate.close()
        calls = [asyncio.ensure_future(service.translate(png(level))) for level in range(20)]
        await service.until(lambda: service.model.admission.requests == 20)
        assert await tasks() >= before + 20
        for call in calls[::2]:
            call.cancel()
        gate.open()
        await asyncio.wait(calls)
        await service.until(lambda: service.model.admission.requests == 0)
        while await tasks() > before:  # noqa: ASYNC110 (what is waited for is told by a scrape)
            await asyncio.sleep(0)
