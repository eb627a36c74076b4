"""lapis.v1.TranslationService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

from service.edge import messages
from service.edge.call import current

if TYPE_CHECKING:
    import grpc

    from service.registry import ModelVersion, Registry
    from service.translator import Translator

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name


class TranslationServicer(pb_grpc.TranslationServiceServicer):
    """Answers the protocol's calls; raises what goes wrong, for the interceptor to tell."""

    def __init__(self, registry: Registry, translator: Translator) -> None:
        self._registry = registry
        self._translator = translator

    async def Translate(self, request: pb.TranslateRequest, context: Context) -> pb.TranslateResponse:
        """Translate one picture."""
        call = current.get()
        call.request_id = messages.request_id(request)
        model = self._find(request.model, request.version)
        wanted = messages.order(request, context.time_remaining())
        made = await self._translator.translate(model, wanted)
        return messages.response(call.request_id, model, wanted, made)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: ARG002
        """List all models."""
        return pb.ListModelsResponse(models=[messages.model_message(model) for model in self._registry.models])

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: ARG002
        """Describe one model."""
        return pb.GetModelResponse(model=messages.model_message(self._find(request.model, request.version)))

    def _find(self, name: str, version: str) -> ModelVersion:
        model = self._registry.find(name, version)
        call = current.get()
        call.model, call.version = model.name, str(model.version)
        return model
