"""What every request passes through, whichever call it came by: counted, timed, logged, traced, errors translated."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from opentelemetry.trace import StatusCode

from service.edge.allowance import Allowance
from service.edge.call import current
from service.edge.status import CODES, Told, fault, refusal
from service.errors import ServiceError
from service.telemetry import tracing
from service.telemetry.logs import log, request_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.trace import Span

    from service.edge.call import Call
    from service.edge.load_report import LoadReport
    from service.telemetry.metrics import Metrics

T = TypeVar("T")

_OK = grpc.StatusCode.OK
# Lines a second for requests that failed, and for those that were slow.
_LINES = 50
# By OpenTelemetry's conventions the codes that tell of a fault of the server's, and not of the caller's.
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


class Refused(Exception):
    """A request failed; `told` is what its caller is told."""

    def __init__(self, told: Told) -> None:
        super().__init__(told.message)
        self.told = told


class Ledger:
    """The book in which each request is entered, from its arrival to its answer.

    Requests that take `slow` seconds or more are logged as slow; 0 for none.
    """

    def __init__(self, metrics: Metrics, load: LoadReport, slow: float) -> None:
        self._metrics = metrics
        self._load = load
        self._slow = slow
        self._log = log.bind()
        # What went well is told where every request is wanted; what did not, always, as far as a log can take it.
        self._tells_all = self._log.is_enabled_for(logging.DEBUG)
        self._failed, self._slowed = Allowance(_LINES), Allowance(_LINES)

    async def carry_out(self, call: Call, work: Callable[[], Awaitable[T]]) -> T:
        """Do what a request asks for; raises Refused where that fails, whatever the cause."""
        current.set(call)
        request_fields.set(call.log_fields)
        code = _OK
        with tracing.request(call.method, call.headers) as call.span:
            self._metrics.in_flight.inc()
            try:
                return await work()
            except asyncio.CancelledError:
                code = call.given_up()
                raise
            except Exception as error:
                told = self.explain(error, call)
                code = told.code
                raise Refused(told) from error
            finally:
                self._metrics.in_flight.dec()
                self._conclude(call, code)

    def explain(self, error: Exception, call: Call) -> Told:
        """Turn an error into what the caller is told; of a fault of ours that is an id, and the log has the rest."""
        reason = error.reason if isinstance(error, ServiceError) else ServiceError.reason
        call.reason = reason
        self._metrics.refused(call.model, call.version, reason)
        if isinstance(error, ServiceError) and CODES.get(type(error)) not in {None, grpc.StatusCode.INTERNAL}:
            return refusal(error)
        error_id = uuid.uuid4().hex[:12]
        log.error("request_failed", error_id=error_id, request_id=call.request_id, model=call.model, exc_info=error)
        return fault(reason, error_id)

    def _conclude(self, call: Call, code: grpc.StatusCode) -> None:
        seconds = time.monotonic() - call.started
        self._metrics.call(call.name, call.model, call.version, code.name, seconds)
        self._load.count(code)
        if self._tells_all or (code is not _OK and self._failed.allows()):
            tell = self._log.debug if code is _OK else self._log.info
            tell("request", **_outcome(call, code, seconds), **self._failed.fields())
        if self._slow and seconds >= self._slow and self._slowed.allows():
            self._log.warning("slow_request", **_outcome(call, code, seconds), **_story(call), **self._slowed.fields())
        if call.span.is_recording():
            _describe(call.span, call, code)


def _outcome(call: Call, code: grpc.StatusCode, seconds: float) -> dict[str, Any]:
    """Return as log fields which request it was, and what became of it."""
    outcome = {
        "method": call.name,
        "code": code.name,
        "seconds": round(seconds, 6),
        "request_id": call.request_id,
        "model": call.model,
        "version": call.version,
    }
    return {**outcome, "reason": call.reason} if call.reason else outcome


def _story(call: Call) -> dict[str, Any]:
    """Return as log fields what a slow request was about, and where its time went."""
    story: dict[str, Any] = {"sent_bytes": call.sent_bytes}
    if made := call.made:
        story |= {stage: round(getattr(made.timings, stage), 6) for stage in ("decode", "queue", "infer", "encode")}
        story |= {"batch_size": made.timings.batch_size, "cached": made.cached, "tiles": made.tiles}
        story |= {"height": made.height, "width": made.width, "channels": made.channels, "answer_bytes": len(made.data)}
    return story


def _describe(span: Span, call: Call, code: grpc.StatusCode) -> None:
    """Say on a request's span what it was about and how it ended."""
    attributes: dict[str, str | int | bool] = {
        "rpc.system": "grpc",
        "rpc.service": call.method.rpartition("/")[0],
        "rpc.method": call.name,
        "rpc.grpc.status_code": code.value[0],
        "lapis.request_id": call.request_id,
        "lapis.model": call.model,
        "lapis.version": call.version,
        "lapis.sent_bytes": call.sent_bytes,
    }
    if made := call.made:
        attributes |= {
            "lapis.batch_size": made.timings.batch_size,
            "lapis.cached": made.cached,
            "lapis.tiles": made.tiles,
        }
    span.set_attributes({key: value for key, value in attributes.items() if value != ""})
    if code in _FAULTS:
        span.set_status(StatusCode.ERROR, code.name)
