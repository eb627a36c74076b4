"""lapis.v1.RepositoryService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from lapis.v1 import repository_pb2 as pb
from lapis.v1 import repository_pb2_grpc as pb_grpc

from service.edge import messages
from service.edge.call import current
from service.errors import ControlDisabled

if TYPE_CHECKING:
    import grpc

    from service.models.registry import ModelVersion, Registry

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["RepositoryService"].full_name


class Life(Protocol):
    """What loads and unloads models; both raise ModelNotFound, and `load` raises ModelUnusable."""

    async def load(self, name: str, version: str) -> ModelVersion:
        """Load a version, and return it when it takes requests; an empty version means the highest."""

    async def unload(self, name: str, version: str) -> list[ModelVersion]:
        """Unload a version, or all for an empty one, and return what was unloaded."""


class RepositoryServicer(pb_grpc.RepositoryServiceServicer):
    """Answers the protocol's calls if that is allowed."""

    def __init__(self, registry: Registry, life: Life, *, allowed: bool) -> None:
        self._registry = registry
        self._life = life
        self._allowed = allowed

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:  # noqa: ARG002
        """Load a model."""
        self._check()
        model = await self._life.load(request.model, request.version)
        current.get().model, current.get().version = model.name, str(model.version)
        return pb.LoadModelResponse(model=messages.model_message(self._registry, model))

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:  # noqa: ARG002
        """Unload a model."""
        self._check()
        models = await self._life.unload(request.model, request.version)
        return pb.UnloadModelResponse(models=[messages.model_message(self._registry, model) for model in models])

    def _check(self) -> None:
        if not self._allowed:
            raise ControlDisabled(
                "callers may not load and unload models here; the server needs --model-control for that"
            )
