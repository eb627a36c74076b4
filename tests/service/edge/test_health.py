from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

if TYPE_CHECKING:
    from tests.service.conftest import Gate, Png, Serving
    from tests.service.edge.conftest import Edged

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ["", "lapis.v1.TranslationService", "a", "b"]


def of(name: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


async def test_everything_serves_when_all_models_are_warm(serving: Serving) -> None:
    async with serving({"a/1": "invert", "a/2": "invert", "b/1": "invert"}) as service:
        health: Any = health_pb2_grpc.HealthStub(service.channel)
        assert [(await health.Check(of(name))).status for name in NAMES] == [SERVING] * 4
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await health.Check(of("nobody"))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_nothing_serves_before_it_is_warm(serving: Serving, gate: Gate) -> None:
    gate.close()
    async with serving({"a/1": "invert", "b/1": "invert"}, wait=False) as service:
        health: Any = health_pb2_grpc.HealthStub(service.channel)
        assert [(await health.Check(of(name))).status for name in NAMES] == [NOT_SERVING] * 4
        watch = health.Watch(of(""))
        assert (await watch.read()).status == NOT_SERVING
        gate.open()
        assert (await watch.read()).status == SERVING
        service.stop.set()
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() is grpc.aio.EOF, "watches end with the server instead of holding it up"


async def test_who_watches_is_told_though_another_watcher_has_left(edged: Edged) -> None:
    async with edged() as edge:
        leaving, staying = edge.health.Watch(of("m")), edge.health.Watch(of("m"))
        assert [(await watch.read()).status for watch in (leaving, staying)] == [SERVING] * 2
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving.read()
        assert (await edge.translate(b"ab")).encoded == b"ba", "by now the server knows that the other has left"
        edge.registry.drain()
        await edge.server.health.update()
        assert (await staying.read()).status == NOT_SERVING


async def test_keeper_of_the_server_is_told_what_it_asks_for(serving: Serving, gate: Gate, png: Png) -> None:
    names = ["liveness", "readiness", "startup"]
    gate.close()
    async with serving({"a/1": "invert"}, wait=False) as service:
        health: Any = health_pb2_grpc.HealthStub(service.channel)
        watches = [health.Watch(of(name)) for name in names]
        told = [[(await watch.read()).status for watch in watches]]
        gate.open()
        await service.server.ready.wait()
        told.append([(await health.Check(of(name))).status for name in names])
        told.append([SERVING, *[(await watch.read()).status for watch in watches[1:]]])
        gate.close()
        call = asyncio.ensure_future(service.translate(png(1)))
        await service.until(lambda: len(gate.reached) > 0)
        service.stop.set()
        told.append([SERVING, (await watches[1].read()).status, SERVING])
        told.append([(await health.Check(of(name))).status for name in names])
        gate.open()
        await call
    assert told == [
        [SERVING, NOT_SERVING, NOT_SERVING],
        [SERVING, SERVING, SERVING],
        [SERVING, SERVING, SERVING],
        [SERVING, NOT_SERVING, SERVING],
        [SERVING, NOT_SERVING, SERVING],
    ]


async def test_model_does_not_take_the_name_of_the_servers_own_health(serving: Serving, gate: Gate) -> None:
    gate.close()
    async with serving({"liveness/1": "invert", "startup/1": "invert"}, wait=False) as service:
        health: Any = health_pb2_grpc.HealthStub(service.channel)
        statuses = [(await health.Check(of(name))).status for name in ("liveness", "startup", "")]
        gate.open()
        await service.server.ready.wait()
    assert statuses == [SERVING, NOT_SERVING, NOT_SERVING]


async def test_model_that_is_gone_is_not_known_any_more(edged: Edged) -> None:
    async with edged() as edge:
        watch = edge.health.Watch(of("m"))
        assert (await watch.read()).status == SERVING
        edge.registry.remove(edge.registry.models[0])
        await edge.server.health.update()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await edge.health.Check(of("m"))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_server_describes_itself(serving: Serving) -> None:
    async with serving({"a/1": "invert"}) as service:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(service.channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (answer,) = [answer async for answer in reflection.ServerReflectionInfo(asked)]
    assert {service.name for service in answer.list_services_response.service} == {
        "lapis.v1.TranslationService",
        "lapis.v1.RepositoryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
