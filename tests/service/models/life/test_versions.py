"""New versions take over from old ones, models come and go, and no request fails."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from lapis.v1 import translation_pb2 as pb

from service.models.registry import State

if TYPE_CHECKING:
    from tests.service.life.conftest import ServingLife

    from tests.service.conftest import Gate, WriteModel

BLACK = 0
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_new_version_takes_over_under_load_and_no_request_fails(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        callers = served.callers()
        for number in (2, 3, 4):
            await callers.after(3)
            write_model(served.root / f"m/{number}/model.onnx", "identity")
            await served.looks()
        await served.until_state("m/3", State.UNLOADED)
        await callers.after(3)
        assert await callers.end() == {"1", "2", "3", "4"}
        assert all(answers == sorted(answers) for answers in callers.answers), "nobody goes back to an older version"
        assert served.states() == {"m/1": "unloaded", "m/2": "unloaded", "m/3": "unloaded", "m/4": "ready"}


async def test_file_replaced_in_its_place_takes_over_under_load_and_no_request_fails(
    serving_life: ServingLife, write_model: WriteModel, tmp_path: Path
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        callers = served.callers(output={"format": pb.PICTURE_FORMAT_RAW})
        before = served.model
        for kind in ("identity", "invert", "identity"):
            await callers.after(3)
            write_model(tmp_path / "next.onnx", kind).replace(served.root / "m/1/model.onnx")
            await served.looks()
        await callers.after(3)
        await callers.end()
        assert served.states() == {"m/1": "ready"}
        assert served.model is not before
        made = await served.translate(output={"format": pb.PICTURE_FORMAT_RAW})
        assert set(made.tensor.data) == {BLACK}


async def test_request_in_hand_is_answered_by_the_version_that_took_it(
    serving_life: ServingLife, write_model: WriteModel, gate: Gate
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        gate.close()
        taken = asyncio.ensure_future(served.translate())
        await served.until(lambda: gate.reached == [1])
        write_model(served.root / "m/2/model.onnx", "identity")
        looking = asyncio.ensure_future(served.looks())
        await served.until(lambda: served.states().get("m/2") == "loading")
        gate.open()
        await looking
        assert (await taken).version == "1"
        await served.until_state("m/1", State.UNLOADED)
        assert served.version("m/1").loaded is None


async def test_version_asked_for_by_number_is_refused_once_it_is_unloaded(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        write_model(served.root / "m/2/model.onnx")
        await served.looks()
        await served.until_state("m/1", State.UNLOADED)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.translate(version="1")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        listed = await served.stub.ListModels(pb.ListModelsRequest())
        assert [(one.state, list(one.labels)) for one in listed.models] == [
            (pb.MODEL_STATE_UNLOADED, []),
            (pb.MODEL_STATE_READY, ["latest"]),
        ]
        assert await served.metric('lapis_model_ready{model="m",version="1"}') is None
        assert await served.metric('lapis_model_ready{model="m",version="2"}') == "1.0"


async def test_all_versions_are_kept_where_that_is_the_policy(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert", "m/2": "invert"}, version_policy="all") as served:
        write_model(served.root / "m/3/model.onnx")
        await served.looks()
        assert served.states() == {"m/1": "ready", "m/2": "ready", "m/3": "ready"}
        assert [await served.answering(version=one) for one in ("1", "2", "3", "")] == ["1", "2", "3", "3"]


async def test_model_that_is_added_serves_and_one_that_is_removed_is_gone(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        write_model(served.root / "n/1/model.onnx")
        await served.looks()
        assert await served.answering(model="n") == "1"
        assert await served.health("n") == SERVING
        shutil.rmtree(served.root / "n")
        await served.looks(1)
        assert served.states() == {"m/1": "ready", "n/1": "ready"}, "a file may be gone for a moment"
        await served.looks(1)
        await served.until(lambda: served.states() == {"m/1": "ready"})
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.translate(model="n")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert await served.metric('lapis_model_ready{model="n",version="1"}') is None
        assert await served.health() == SERVING


async def test_new_model_that_is_broken_does_not_make_the_server_unready(serving_life: ServingLife) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        (served.root / "n/1").mkdir(parents=True)
        (served.root / "n/1/model.onnx").write_bytes(b"no model")
        await served.looks()
        assert served.states() == {"m/1": "ready", "n/1": "failed"}
        assert await served.health() == SERVING
        assert await served.health("n") == NOT_SERVING
        assert await served.answering(model="m") == "1"


async def test_version_that_is_removed_makes_room_for_the_one_before(serving_life: ServingLife) -> None:
    async with serving_life({"m/1": "invert", "m/2": "invert"}) as served:
        callers = served.callers()
        await callers.after(3)
        shutil.rmtree(served.root / "m/2")
        await served.looks()
        await served.until(lambda: served.states() == {"m/1": "ready"})
        await callers.after(1)
        assert await callers.end() == {"2", "1"}
        assert await served.answering() == "1"


async def test_last_version_that_serves_outlives_its_file(serving_life: ServingLife) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        (served.root / "m/2").mkdir()
        (served.root / "m/2/model.onnx").write_bytes(b"no model")
        shutil.rmtree(served.root / "m/1")
        await served.looks(3)
        assert served.states() == {"m/1": "ready", "m/2": "failed"}
        assert await served.answering() == "1"


@pytest.mark.parametrize("loss", ["empty", "missing"])
async def test_repository_that_is_lost_unloads_nothing(serving_life: ServingLife, loss: str, tmp_path: Path) -> None:
    async with serving_life({"m/1": "invert", "n/1": "invert"}) as served:
        served.root.rename(tmp_path / "elsewhere")
        if loss == "empty":
            served.root.mkdir()
        await served.looks(3)
        assert served.states() == {"m/1": "ready", "n/1": "ready"}
        assert await served.answering(model="m") == "1"


async def test_repository_is_looked_at_again_and_again(serving_life: ServingLife, write_model: WriteModel) -> None:
    async with serving_life({"m/1": "invert"}, repository_poll=0.01) as served:
        write_model(served.root / "m/2/model.onnx")
        await served.until(lambda: served.states().get("m/2") == "ready")
        assert await served.answering() == "2"


async def test_hidden_folders_are_no_versions(serving_life: ServingLife, write_model: WriteModel) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        write_model(served.root / "m/.2.4711/model.onnx")
        write_model(served.root / ".n/1/model.onnx")
        await served.looks()
        assert served.states() == {"m/1": "ready"}
