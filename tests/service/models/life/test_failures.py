"""Files that cannot be served, and engines that break, harm nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import grpc
import pytest
from grpc_health.v1 import health_pb2
from lapis.v1 import translation_pb2 as pb

from service.errors import StartupError

if TYPE_CHECKING:
    from tests.service.life.conftest import Proven, ServingLife

    from tests.service.conftest import WriteModel

BLACK = 0
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_broken_version_is_reported_while_the_old_one_serves(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        path = served.root / "m/2/model.onnx"
        path.parent.mkdir()
        path.write_bytes(b"no model")
        await served.looks(4)
        assert served.states() == {"m/1": "ready", "m/2": "failed"}
        assert "ONNX Runtime cannot load it" in served.version("m/2").failure
        assert await served.answering() == "1"
        assert await served.health() == await served.health("m") == SERVING
        answer = await served.stub.GetModel(pb.GetModelRequest(version="2"))
        assert answer.model.state == pb.MODEL_STATE_FAILED
        failures = 'lapis_model_load_failures_total{model="m",version="2"}'
        assert await served.metric(failures) == "1.0", "a file that failed is not tried again"
        write_model(path)
        await served.looks()
        assert await served.answering() == "2"
        assert served.version("m/2").failure == ""


async def test_broken_file_in_the_place_of_a_good_one_changes_nothing(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        path = served.root / "m/1/model.onnx"
        before = served.model
        for content in (b"", b"no model"):
            path.write_bytes(content)
            await served.looks()
            assert served.model is before
            assert await served.answering() == "1"
            assert (await served.get("/readyz")).json()["models"][0]["reason"]
        assert await served.metric('lapis_model_load_failures_total{model="m",version="1"}') == "2.0"
        write_model(path, "identity")
        await served.looks()
        assert served.model is not before


async def test_file_that_vanishes_or_brings_out_a_fault_of_ours_harms_nobody_else(
    serving_life: ServingLife, write_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        for number, fault in ((2, FileNotFoundError(2, "No such file or directory")), (3, ZeroDivisionError("secret"))):
            write_model(served.root / f"m/{number}/model.onnx")
            monkeypatch.setattr("service.loading.Engine", Mock(side_effect=fault))
            await served.looks()
        assert served.states() == {"m/1": "ready", "m/2": "failed", "m/3": "failed"}
        assert served.version("m/2").failure.endswith("m/2/model.onnx: No such file or directory")
        assert "secret" not in served.version("m/3").failure
        assert await served.answering() == "1"


async def test_file_that_is_still_being_copied_is_left_alone(
    serving_life: ServingLife, write_model: WriteModel, tmp_path: Path
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        whole = write_model(tmp_path / "whole.onnx", "slow").read_bytes()
        path = served.root / "m/2/model.onnx"
        path.parent.mkdir()
        for share in (3, 2, 1):
            path.write_bytes(whole[: len(whole) // share])
            await served.looks(1)
            assert served.states() == {"m/1": "ready"}
        await served.looks(1)
        assert served.states()["m/2"] == "ready"
        assert await served.metric('lapis_model_load_failures_total{model="m",version="2"}') is None


async def test_model_that_does_not_make_of_its_picture_what_export_saw_is_refused(
    serving_life: ServingLife, write_model: WriteModel, proven: Proven
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        write_model(served.root / "m/2/model.onnx", "invert", metadata=proven("identity"))
        await served.looks()
        assert served.states() == {"m/1": "ready", "m/2": "failed"}
        assert "comes out up to 255 of 255 levels off" in served.version("m/2").failure
        write_model(served.root / "m/2/model.onnx", "invert", metadata=proven("invert"))
        await served.looks()
        assert await served.answering() == "2"
        answer = await served.stub.GetModel(pb.GetModelRequest())
        assert "fingerprint" not in json.loads(answer.model.metadata_json), "callers who list models need no pictures"


async def test_lower_version_serves_where_the_highest_is_broken_at_the_start(serving_life: ServingLife) -> None:
    async with serving_life({"m/1": "invert", "m/2": "broken"}) as served:
        assert served.states() == {"m/1": "ready", "m/2": "failed"}
        assert await served.answering() == "1"


async def test_start_fails_where_no_version_can_be_served(serving_life: ServingLife) -> None:
    with pytest.raises(ExceptionGroup) as failed:
        async with serving_life({"a/1": "invert", "m/1": "broken", "m/2": "broken"}, wait=True):
            pass
    (error,) = failed.value.exceptions
    assert isinstance(error, StartupError)
    assert "m/1/model.onnx: the model fails on a blank picture" in str(error)


async def test_model_whose_engine_is_built_anew_makes_its_name_and_the_server_unready(
    serving_life: ServingLife, soundness: Callable[[], Callable[[bool], None]]
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        tell = soundness()
        tell(False)
        await served.until(lambda: served.states() == {"m/1": "recovering"})
        await served.until_health(NOT_SERVING)
        assert await served.health("m") == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.translate()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        tell(True)
        await served.until_health(SERVING)
        assert await served.answering() == "1"


async def test_engine_that_was_replaced_has_no_say_any_more(
    serving_life: ServingLife, write_model: WriteModel, soundness: Callable[[], Callable[[bool], None]]
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        tell = soundness()
        write_model(served.root / "m/1/model.onnx", "identity")
        await served.looks()
        tell(False)
        assert served.states() == {"m/1": "ready"}
