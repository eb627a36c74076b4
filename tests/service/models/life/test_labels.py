"""Labels find their versions, and follow when they are moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from lapis.v1 import translation_pb2 as pb
from structlog.testing import capture_logs

from service.models.registry import State

if TYPE_CHECKING:
    from tests.service.life.conftest import ServingLife

    from tests.service.conftest import WriteModel

BLACK = 0
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_label_names_its_version_and_moves(serving_life: ServingLife, write_model: WriteModel) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        served.label(stable=1)
        await served.looks(1)
        write_model(served.root / "m/2/model.onnx")
        await served.looks()
        assert [await served.answering(version=one) for one in ("stable", "latest", "")] == ["1", "2", "2"]
        listed = await served.stub.ListModels(pb.ListModelsRequest())
        assert [list(one.labels) for one in listed.models] == [["stable"], ["latest"]]
        served.label(stable=2, canary=2)
        await served.looks(1)
        assert await served.answering(version="stable") == "2"
        await served.until_state("m/1", State.UNLOADED)
        listed = await served.stub.ListModels(pb.ListModelsRequest())
        assert [list(one.labels) for one in listed.models] == [[], ["latest", "canary", "stable"]]


async def test_label_goes_back_to_a_version_that_has_to_be_loaded_and_no_request_fails(
    serving_life: ServingLife, write_model: WriteModel
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        served.label(stable=1)
        write_model(served.root / "m/2/model.onnx")
        await served.looks()
        callers = served.callers(version="stable")
        for number in (2, 1, 2, 1):
            await callers.after(3)
            served.label(stable=number)
            await served.looks(1)
        await callers.after(3)
        assert await callers.end() == {"1", "2"}
        assert await served.answering(version="stable") == "1"


async def test_broken_labels_leave_the_old_ones(serving_life: ServingLife) -> None:
    async with serving_life({"m/1": "invert", "m/2": "invert"}, version_policy="all") as served:
        served.label(stable=1)
        await served.looks(1)
        (served.root / "m/labels.json").write_text('{"stable": ')
        with capture_logs() as logs:
            await served.looks(3)
        (told,) = logs
        assert told["event"] == "labels_failed", "told once"
        assert "m/labels.json: not JSON" in told["reason"]
        assert await served.answering(version="stable") == "1"
        served.label(stable=2)
        with capture_logs() as logs:
            await served.looks(1)
        assert logs == [{"event": "labels_changed", "log_level": "info", "model": "m", "labels": {"stable": 2}}]
        assert await served.answering(version="stable") == "2"


@pytest.mark.parametrize("content", [b"no model", None])
async def test_label_stays_where_it_is_while_its_new_version_cannot_be_served(
    serving_life: ServingLife, content: bytes | None
) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        served.label(stable=1)
        await served.looks(1)
        if content:
            (served.root / "m/2").mkdir()
            (served.root / "m/2/model.onnx").write_bytes(content)
        served.label(stable=2)
        with capture_logs() as logs:
            await served.looks(3)
        assert await served.answering(version="stable") == "1"
        assert {one["event"] for one in logs} == {"model_failed" if content else "labels_failed"}
        assert len(logs) == 1, "told once"


async def test_labels_that_are_gone_name_nothing_any_more(serving_life: ServingLife) -> None:
    async with serving_life({"m/1": "invert"}) as served:
        served.label(stable=1)
        await served.looks(1)
        (served.root / "m/labels.json").unlink()
        await served.looks(1)
        assert await served.answering(version="stable") == "1", "a file may be gone for a moment"
        await served.looks(1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.translate(version="stable")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
