"""lapis.v1.TranslationService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

from service.edge import messages
from service.edge.call import Call, caller_of, current, deadline_of
from service.edge.ledger import Refused
from service.edge.stream import Stream
from service.errors import InvalidRequest

if TYPE_CHECKING:
    import asyncio

    import grpc

    from service.edge.ledger import Ledger
    from service.edge.tokens import Tokens
    from service.models.registry import ModelVersion, Registry
    from service.settings import ServeSettings
    from service.translator import Translator

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name
_STREAM = f"{SERVICE}/TranslateStream"


class TranslationServicer(pb_grpc.TranslationServiceServicer):
    """Answers the protocol's calls; raises what goes wrong, for the ledger to tell.

    Streams end once `draining` is set and what they have in hand is answered.
    """

    def __init__(
        self,
        registry: Registry,
        translator: Translator,
        ledger: Ledger,
        settings: ServeSettings,
        draining: asyncio.Event,
        *,
        tokens: Tokens | None,
    ) -> None:
        self._registry = registry
        self._translator = translator
        self._ledger = ledger
        # A stream that has the server to itself is read more slowly, rather than refused for being too many.
        self._window = min(settings.stream_window, settings.max_queue, settings.caller_limit or settings.max_queue)
        self._by_token = settings.caller_key == "token"
        self._tokens = tokens
        self._draining = draining

    async def Translate(self, request: pb.TranslateRequest, context: Context) -> pb.TranslateResponse:
        """Translate one picture."""
        return await self._translate(current.get(), request, caller_of(context, self._tokens, by_token=self._by_token))

    # The stubs know generators only; by reading and writing itself a handler answers in any order.
    async def TranslateStream(self, requests: object, context: Context) -> None:  # type: ignore[override]  # noqa: ARG002
        """Translate the pictures of a stream, each a request of its own."""
        caller = caller_of(context, self._tokens, by_token=self._by_token)
        deadline = deadline_of(context)

        async def answer(item: pb.TranslateStreamRequest | None) -> pb.TranslateStreamResponse:
            call = Call(_STREAM, context, deadline)
            try:
                made = await self._ledger.carry_out(call, lambda: self._translate(call, _request_in(item), caller))
            except Refused as refused:
                # Where the id that came is at fault, it is still the one that the caller looks for.
                request_id = call.request_id or (item.request.request_id if item else "")
                return pb.TranslateStreamResponse(request_id=request_id, error=refused.told.as_item())
            return pb.TranslateStreamResponse(request_id=call.request_id, response=made)

        await Stream(context, answer, self._window, self._draining).run()

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: ARG002
        """List all models."""
        return pb.ListModelsResponse(
            models=[messages.model_message(self._registry, one) for one in self._registry.models]
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: ARG002
        """Describe one model."""
        model = self._find(current.get(), request.model, request.version)
        return pb.GetModelResponse(model=messages.model_message(self._registry, model))

    async def _translate(self, call: Call, request: pb.TranslateRequest, caller: str) -> pb.TranslateResponse:
        call.request_id = messages.request_id(request)
        model = self._find(call, request.model, request.version)
        deadline = min(call.deadline, call.started + messages.timeout(request))
        any_size = model.loaded is not None and model.loaded.engine.input.any_size
        wanted = messages.order(request, deadline, caller, any_size=any_size)
        call.sent_bytes = wanted.nbytes
        call.made = await self._translator.translate(model, wanted)
        return messages.response(call.request_id, model, wanted, call.made)

    def _find(self, call: Call, name: str, version: str) -> ModelVersion:
        model = self._registry.find(name, version)
        call.model, call.version = model.name, str(model.version)
        return model


def _request_in(item: pb.TranslateStreamRequest | None) -> pb.TranslateRequest:
    """Return the request in an item, which is None where it could not be read; raises InvalidRequest."""
    if item is None:
        raise InvalidRequest("the item is no lapis.v1.TranslateStreamRequest")
    return item.request
