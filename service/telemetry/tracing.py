"""Traces of requests and of the batches that they rode in, by OpenTelemetry; next to nothing where none are sent.

A request's span has a child per stage. A batch is a trace of its own, linked to the requests in it, because it has as
many parents as requests.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from service.settings import ServeSettings
    from service.telemetry.trace_export import TraceExport

    Headers = Mapping[str, str]

_NOTHING = nullcontext()
_UNTRACED = nullcontext(trace.INVALID_SPAN)
_request: ContextVar[trace.Span] = ContextVar("request_span", default=trace.INVALID_SPAN)


class _Tracing:
    """What `configure` set up."""

    tracer: trace.Tracer | None = None
    export: TraceExport | None = None


@dataclass(eq=False)
class Link:
    """A request's span, to be carried with its rows; `queued` is when they began to wait, in nanoseconds since 1970."""

    context: trace.SpanContext
    queued: int
    is_waiting: bool = True


def configure(settings: ServeSettings) -> None:
    """Send traces from now on, if the settings say where; raises StartupError."""
    if settings.otlp_endpoint:
        # Not above: the libraries take a third of a second to import, which only those pay who trace.
        from service.telemetry.trace_export import TraceExport  # noqa: PLC0415

        _Tracing.export = TraceExport(settings.otlp_endpoint, settings.otlp_protocol, settings.trace_ratio)
        _Tracing.tracer = _Tracing.export.tracer


def shutdown() -> None:
    """Send what is left, for a few seconds at most, and trace no more."""
    export, _Tracing.export, _Tracing.tracer = _Tracing.export, None, None
    if export:
        export.close()


def request(name: str, headers: Callable[[], Headers]) -> AbstractContextManager[trace.Span]:
    """Open the span of a request, whose caller's own span, if any, is told by its headers."""
    return _UNTRACED if _Tracing.tracer is None else _open_request(_Tracing.tracer, name, headers())


def stage(name: str) -> AbstractContextManager[Any]:
    """Open the span of a stage of the request in hand; queue and infer follow from `link` and `batch`."""
    if _Tracing.tracer is None or not _request.get().is_recording():
        return _NOTHING
    return _Tracing.tracer.start_as_current_span(name)


def link() -> Link | None:
    """Return what ties rows that begin to wait now to the request in hand; None where that is not traced."""
    if _Tracing.tracer is None or not _request.get().is_recording():
        return None
    return Link(_request.get().get_span_context(), time.time_ns())


def batch(model: str, version: int, rows: int, bucket: int, links: Sequence[Link]) -> AbstractContextManager[None]:
    """Open the span of a run, linked to the requests whose rows are in it; theirs get spans of waiting and running."""
    if _Tracing.tracer is None or not links:
        return _NOTHING
    attributes = {"lapis.model": model, "lapis.version": version, "lapis.batch_size": rows, "lapis.bucket": bucket}
    requests = {link.context.span_id: link for link in links}  # of one request there may be many rows
    return _open_batch(_Tracing.tracer, attributes, list(requests.values()))


def headers_of(span: trace.Span) -> dict[str, str]:
    """Return the headers that tell others of a span; none where there is no trace."""
    carrier: dict[str, str] = {}
    if span is not trace.INVALID_SPAN:
        propagate.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier


def ids(headers: Callable[[], Headers]) -> dict[str, str]:
    """Return trace_id and span_id of the span in hand, or else of the caller's, as log fields."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        context = trace.get_current_span(propagate.extract(headers())).get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


@contextmanager
def _open_request(tracer: trace.Tracer, name: str, headers: Headers) -> Iterator[trace.Span]:
    with tracer.start_as_current_span(
        name,
        context=propagate.extract(headers),
        kind=trace.SpanKind.SERVER,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        token = _request.set(span)
        try:
            yield span
        finally:
            _request.reset(token)


@contextmanager
def _open_batch(tracer: trace.Tracer, attributes: Mapping[str, Any], links: Sequence[Link]) -> Iterator[None]:
    started = time.time_ns()
    with tracer.start_as_current_span(
        "batch", context=Context(), links=[trace.Link(link.context) for link in links], attributes=attributes
    ) as span:
        try:
            yield
        finally:
            for one in links:
                _tell_stages(tracer, one, started, trace.Link(span.get_span_context()))


def _tell_stages(tracer: trace.Tracer, link: Link, started: int, batch: trace.Link) -> None:
    """Put into a request's trace how long it waited, which it did once, and a run that it was in."""
    parent = trace.set_span_in_context(trace.NonRecordingSpan(link.context), Context())
    if link.is_waiting:
        link.is_waiting = False
        tracer.start_span("queue", context=parent, start_time=link.queued).end(started)
    tracer.start_span("infer", context=parent, start_time=started, links=[batch]).end()
