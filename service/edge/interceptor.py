"""What every call of ours passes through: errors become status, and the call is counted, timed and logged once."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc

from service.edge.call import Call, current
from service.edge.status import CODES, fault, refusal
from service.errors import ServiceError
from service.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.rpc import status_pb2  # type: ignore[import-untyped]

    from service.metrics import Metrics

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Behaviour = Callable[[Any, Context], Awaitable[Any]]

# The key under which gRPC's clients look for a google.rpc.Status.
_DETAILS = "grpc-status-details-bin"
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
# gRPC's own services (health, reflection) set their status themselves.
_FOREIGN = "/grpc."
# A caller whose deadline passes cancels on its own clock, which may run ahead of ours by this much (seconds).
_JITTER = 0.1


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our services."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Put the life of a call around its handler."""
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or path.startswith(_FOREIGN):
            return handler
        behaviour: Any = handler.unary_unary
        return grpc.unary_unary_rpc_method_handler(
            self._around(path.rpartition("/")[2], behaviour), handler.request_deserializer, handler.response_serializer
        )

    def _around(self, method: str, behaviour: Behaviour) -> Behaviour:
        async def answer(request: Any, context: Context) -> Any:  # noqa: ANN401 (the messages of any method)
            call = Call(method, started=time.monotonic())
            current.set(call)
            code = grpc.StatusCode.OK
            self._metrics.in_flight.inc()
            try:
                return await behaviour(request, context)
            except asyncio.CancelledError:
                code = _given_up(context)
                raise
            except grpc.aio.AbortError:
                code = context.code()
                raise
            except Exception as error:  # noqa: BLE001 (a caller never reads an error that was not made for callers)
                told = self._explain(call, error)
                code = _BY_NUMBER[told.code]
                await context.abort(code, told.message, ((_DETAILS, told.SerializeToString()),))
            finally:
                self._metrics.in_flight.dec()
                self._conclude(call, code.name)

        return answer

    def _explain(self, call: Call, error: Exception) -> status_pb2.Status:
        """Turn an error into what the caller is told; of a fault of ours that is an id, and the log has the rest."""
        reason = error.reason if isinstance(error, ServiceError) else "INTERNAL"
        self._metrics.refused(call.model, call.version, reason)
        if isinstance(error, ServiceError) and CODES.get(type(error)) not in {None, grpc.StatusCode.INTERNAL}:
            return refusal(error)
        error_id = uuid.uuid4().hex[:12]
        log.error("request_failed", error_id=error_id, request_id=call.request_id, model=call.model, exc_info=error)
        return fault(reason, error_id)

    def _conclude(self, call: Call, code: str) -> None:
        seconds = time.monotonic() - call.started
        self._metrics.call(call.method, call.model, call.version, code, seconds)
        # What went well is told where every request is wanted; what did not, always.
        tell = log.debug if code == grpc.StatusCode.OK.name else log.info
        tell(
            "request",
            method=call.method,
            code=code,
            seconds=round(seconds, 6),
            request_id=call.request_id,
            model=call.model,
            version=call.version,
        )


def _given_up(context: Context) -> grpc.StatusCode:
    """Tell why a handler was cancelled: gRPC does so when its caller leaves, and when the deadline passes."""
    remaining = context.time_remaining()
    too_late = remaining is not None and remaining < _JITTER
    return grpc.StatusCode.DEADLINE_EXCEEDED if too_late else grpc.StatusCode.CANCELLED
