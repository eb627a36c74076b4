"""Models are loaded and unloaded on request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from lapis.v1 import repository_pb2, repository_pb2_grpc
from lapis.v1 import translation_pb2 as pb

from service.errors import ModelNotFound, ModelUnusable, NotReady
from service.models.registry import State

if TYPE_CHECKING:
    from tests.service.life.conftest import ServingLife

    from tests.service.conftest import Gate, WriteModel

BLACK = 0
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_version_is_loaded_on_request_and_stays(serving_life: ServingLife) -> None:
    async with serving_life({"m/1": "invert", "m/2": "invert"}) as served:
        assert served.states() == {"m/1": "unloaded", "m/2": "ready"}
        loaded = await served.life.load("m", "1")
        assert (loaded.version, loaded.state) == (1, State.READY)
        await served.looks()
        assert [await served.answering(version=one) for one in ("1", "")] == ["1", "2"]


async def test_highest_version_is_found_and_loaded_on_request_at_once(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        write_model(served.root / "m/2/model.onnx")
        write_model(served.root / "n/7/model.onnx")
        assert (await served.life.load("m", "")).version == 2
        assert (await served.life.load("n", "latest")).version == 7
        await served.until_state("m/1", State.UNLOADED)
        write_model(served.root / "m/3/model.onnx")
        await served.looks()
        await served.until_state("m/2", State.UNLOADED)
        assert await served.answering(model="m") == "3"


async def test_load_on_request_takes_a_changed_file_and_leaves_an_unchanged_one(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        before = served.model
        await served.life.load("m", "")
        assert served.model is before
        write_model(served.root / "m/1/model.onnx", "identity")
        await served.life.load("m", "")
        assert served.model is not before


async def test_load_on_request_says_why_it_fails_and_leaves_what_serves(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        path = write_model(served.root / "m/2/model.onnx", "broken")
        for _ in range(2):  # asked for, a file is tried again
            with pytest.raises(ModelUnusable, match=r"^model m version 2 cannot be served: the model fails on a blank"):
                await served.life.load("m", "2")
        failures = 'lapis_model_load_failures_total{model="m",version="2"}'
        assert await served.metric(failures) == "2.0"
        assert await served.answering() == "1"
        write_model(path)
        assert (await served.life.load("m", "2")).is_ready


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("n", "", "the repository has no model 'n'"),
        ("", "", "the repository has no model ''"),
        ("m", "2", "the repository has no version '2' of model m; it has 1"),
        ("m", "01", "the repository has no version '01' of model m; it has 1"),
        ("m", "stable", "the repository has no version 'stable' of model m; it has 1"),
    ],
)
async def test_what_the_repository_has_not_cannot_be_loaded(
    serving_life: ServingLife, name: str, number: str, message: str
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        with pytest.raises(ModelNotFound) as unknown:
            await served.life.load(name, number)
        assert str(unknown.value) == message


async def test_version_is_unloaded_on_request_once_its_requests_are_answered(
    serving_life: ServingLife, gate: Gate
) -> None:
    async with serving_life({"m/1": "invert", "n/1": "invert"}) as served:
        gate.close()
        taken = asyncio.ensure_future(served.translate(model="m"))
        await served.until(lambda: gate.reached == [1])
        unloading = asyncio.ensure_future(served.life.unload("m", ""))
        await served.until_state("m/1", State.DRAINING)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.translate(model="m")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not unloading.done()
        gate.open()
        assert (await taken).version == "1"
        (unloaded,) = await unloading
        assert (unloaded.name, unloaded.state, unloaded.loaded) == ("m", State.UNLOADED, None)
        assert await served.health("m") == NOT_SERVING
        assert await served.health() == SERVING, "the others serve on"


async def test_unloaded_on_request_a_model_stays_so_until_it_is_asked_for_or_its_file_changes(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert", "m/2": "invert"}) as served:
        assert [one.version for one in await served.life.unload("m", "")] == [2]
        await served.looks(3)
        assert served.states() == {"m/1": "unloaded", "m/2": "unloaded"}
        assert (await served.life.load("m", "")).version == 2
        assert [one.version for one in await served.life.unload("m", "latest")] == [2]
        write_model(served.root / "m/2/model.onnx", "identity")
        await served.looks()
        assert await served.answering() == "2"


@pytest.mark.parametrize(("name", "number"), [("n", ""), ("", ""), ("m", "2"), ("m", "stable")])
async def test_what_is_not_known_cannot_be_unloaded(serving_life: ServingLife, name: str, number: str) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        with pytest.raises(ModelNotFound):
            await served.life.unload(name, number)


async def test_requests_on_a_server_that_ends_are_refused(serving_life: ServingLife) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        life = served.life
        served.stop.set()
    for asked in (life.load("m", ""), life.unload("m", ""), life.look()):
        with pytest.raises(NotReady, match="shutting down"):
            await asked


async def test_caller_who_gives_up_on_a_load_does_not_end_it(serving_life: ServingLife, gate: Gate) -> None:
    async with serving_life({"m/1": "invert", "m/2": "invert"}) as served:
        gate.close()
        asked = asyncio.ensure_future(served.life.load("m", "1"))
        await served.until_state("m/1", State.LOADING)
        asked.cancel()
        gate.open()
        await served.until_state("m/1", State.READY)


async def test_server_that_ends_while_it_loads_on_request_says_so(serving_life: ServingLife, gate: Gate) -> None:
    async with serving_life({"m/1": "invert", "m/2": "invert"}) as served:
        gate.close()
        asked = asyncio.ensure_future(served.life.load("m", "1"))
        await served.until_state("m/1", State.LOADING)
        served.stop.set()
        with pytest.raises(NotReady, match="shutting down"):
            await asked
        gate.open()


async def test_callers_load_and_unload_over_grpc(serving_life: ServingLife, write_model: WriteModel) -> None:
    async with serving_life({"m/1": "invert"}, model_control=True) as served:
        stub: repository_pb2_grpc.RepositoryServiceAsyncStub = repository_pb2_grpc.RepositoryServiceStub(served.channel)
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.LoadModel(repository_pb2.LoadModelRequest(model="m", version="2"))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        path = write_model(served.root / "m/2/model.onnx", "broken")
        for content in (path.read_bytes(), b"no model"):
            path.write_bytes(content)
            with pytest.raises(grpc.aio.AioRpcError) as unusable:
                await stub.LoadModel(repository_pb2.LoadModelRequest(model="m"))
            assert unusable.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert str(served.root) not in (unusable.value.details() or ""), "where files lie is no caller's business"
        write_model(path)
        loaded = (await stub.LoadModel(repository_pb2.LoadModelRequest(model="m"))).model
        assert (loaded.version, loaded.state, list(loaded.labels)) == ("2", pb.MODEL_STATE_READY, ["latest"])
        unloaded = (await stub.UnloadModel(repository_pb2.UnloadModelRequest(model="m"))).models
        assert [(one.version, one.state) for one in unloaded] == [("2", pb.MODEL_STATE_UNLOADED)]
