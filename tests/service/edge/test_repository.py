from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import pytest
from lapis.v1 import repository_pb2 as repository
from lapis.v1 import translation_pb2 as pb

from service.errors import ModelNotFound, ModelUnusable

if TYPE_CHECKING:
    from service.models.registry import ModelVersion
    from tests.service.edge.conftest import Edged, Reason

Code = grpc.StatusCode


@dataclass
class Life:
    """Says of a model that it was loaded or unloaded."""

    models: list[ModelVersion] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    error: Exception | None = None

    async def load(self, name: str, version: str) -> ModelVersion:
        self.asked.append(("load", name, version))
        if self.error:
            raise self.error
        return self.models[0]

    async def unload(self, name: str, version: str) -> list[ModelVersion]:
        self.asked.append(("unload", name, version))
        if self.error:
            raise self.error
        return self.models


async def test_model_is_loaded_and_unloaded_on_request(edged: Edged) -> None:
    life = Life()
    async with edged(life, model_control=True) as edge:
        life.models.extend(edge.registry.models)
        edge.registry.relabel("m", {"stable": 1})
        loaded = await edge.control.LoadModel(repository.LoadModelRequest(model="m", version="stable"))
        edge.registry.models[0].be_unloaded()
        unloaded = await edge.control.UnloadModel(repository.UnloadModelRequest(model="m"))
        counted = edge.metric("lapis_request_seconds_count", method="LoadModel", model="m", version="1", code="OK")
    assert life.asked == [("load", "m", "stable"), ("unload", "m", "")]
    assert (loaded.model.state, list(loaded.model.labels)) == (pb.MODEL_STATE_READY, ["latest", "stable"])
    assert [(one.name, one.version, one.state) for one in unloaded.models] == [("m", "1", pb.MODEL_STATE_UNLOADED)]
    assert counted == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelNotFound("no such model"), Code.NOT_FOUND),
        (ModelUnusable("m/1/model.onnx: the file is no model"), Code.FAILED_PRECONDITION),
    ],
)
async def test_what_cannot_be_done_is_told(edged: Edged, reason: Reason, error: ModelNotFound, code: Code) -> None:
    async with edged(Life(error=error), model_control=True) as edge:
        for call in (
            edge.control.LoadModel(repository.LoadModelRequest()),
            edge.control.UnloadModel(repository.UnloadModelRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert (refused.value.code(), refused.value.details()) == (code, str(error))
            assert reason(refused.value) == error.reason


async def test_callers_control_nothing_unless_they_may(edged: Edged, reason: Reason) -> None:
    life = Life()
    async with edged(life) as edge:
        for call in (
            edge.control.LoadModel(repository.LoadModelRequest(model="m")),
            edge.control.UnloadModel(repository.UnloadModelRequest(model="m")),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is Code.PERMISSION_DENIED
            assert reason(refused.value) == "CONTROL_DISABLED"
    assert life.asked == []
