"""What every call of ours passes through.

Callers who have no token, where one is asked for, are refused before anything of what they send is read; requests are
entered in the ledger, and errors become the end of the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from service.edge.call import Call, deadline_of
from service.edge.connections import OpenCalls
from service.edge.ledger import Refused
from service.edge.trailers import load_trailers, trailers
from service.errors import InvalidRequest, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.edge.ledger import Ledger
    from service.edge.load_report import LoadReport
    from service.edge.status import Told
    from service.edge.tokens import Tokens
    from service.edge.trailers import Metadata

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Behaviour = Callable[[Any, Context], Awaitable[Any]]

# The key under which gRPC's clients look for a google.rpc.Status.
_DETAILS = "grpc-status-details-bin"
# gRPC's own services (health, reflection) set their status themselves.
_FOREIGN = "/grpc."


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our services, each once. `load` is None where callers are not to be told of it.

    `tokens` is None where anyone may call. gRPC's own services (health, reflection) are open to all.

    `calls` are those that are open, and may be exchanged for others, to count those that come from then on.
    """

    def __init__(self, ledger: Ledger, load: LoadReport | None, tokens: Tokens | None = None) -> None:
        self.calls = OpenCalls()
        self._ledger = ledger
        self._load = load
        self._tokens = tokens
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Put the life of a call around its handler."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or path.startswith(_FOREIGN):
                return handler
            wrapped = self._wrapped.setdefault(path, self._around(path.removeprefix("/"), handler))
        try:
            if self._tokens:
                self._tokens.name(handler_call_details.invocation_metadata)
        except Unauthenticated as error:
            return self._refusing(path.removeprefix("/"), error)
        return wrapped

    def _refusing(self, method: str, error: Unauthenticated) -> Handler:
        """Return what answers any kind of call with an error; as a stream, of which nothing is read unasked."""

        async def fail() -> NoReturn:
            raise error

        async def answer(_: object, context: Context) -> None:
            self.calls.enter(context)
            try:
                await self._ledger.carry_out(Call(method, context, deadline_of(context)), fail)
            except Refused as refused:
                await _end(context, refused.told, ())

        return grpc.stream_stream_rpc_method_handler(answer)

    def _around(self, method: str, handler: Handler) -> Handler:
        coders = _lenient(handler.request_deserializer), handler.response_serializer
        unary: Any = handler.unary_unary
        stream: Any = handler.stream_stream
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(method, stream), *coders)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, unary), *coders)

    def _unary(self, method: str, behaviour: Behaviour) -> Behaviour:
        """Enter a call as one request."""

        async def answer(request: Any, context: Context) -> Any:  # noqa: ANN401 (the messages of any method)
            self.calls.enter(context)
            call = Call(method, context, deadline_of(context))
            work = behaviour if request is not None else _refuse
            try:
                answered = await self._ledger.carry_out(call, lambda: work(request, context))
            except Refused as refused:
                await _end(context, refused.told, trailers(call, self._load))
            context.set_trailing_metadata(trailers(call, self._load))
            return answered

        return answer

    def _stream(self, method: str, behaviour: Behaviour) -> Behaviour:
        """Leave it to a call's handler to enter its items as requests."""

        async def answer(requests: Any, context: Context) -> None:  # noqa: ANN401
            self.calls.enter(context)
            try:
                await behaviour(requests, context)
            except Exception as error:  # noqa: BLE001 (a caller never reads an error that was not made for callers)
                told = self._ledger.explain(error, Call(method, context, deadline_of(context)))
                await _end(context, told, load_trailers(self._load))
            context.set_trailing_metadata(load_trailers(self._load))

        return answer


async def _end(context: Context, told: Told, metadata: Metadata) -> NoReturn:
    """End a call with an error; raises what gRPC wants to see of that."""
    details = (_DETAILS, told.as_status().SerializeToString())
    await context.abort(told.code, told.message, (details, *metadata))


async def _refuse(_: object, __: Context) -> NoReturn:
    raise InvalidRequest("the request is not a message of the kind that this method takes")


def _lenient(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Return None for what is no message, where gRPC would end the call itself, with an answer that helps nobody."""

    def read(data: bytes) -> Any:  # noqa: ANN401
        try:
            return deserialize(data) if deserialize else data
        except DecodeError:
            return None

    return read
