"""Where traces go: to a collector, by OTLP over gRPC or HTTP, from a thread that no request waits for."""

from __future__ import annotations

import logging
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit
from uuid import uuid4

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased

from service.errors import StartupError
from service.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, Tracer, TraceState
    from opentelemetry.util.types import Attributes

# Seconds that the end of the server waits for the last spans to be sent.
_PATIENCE = 3.0
_HTTP_PATH = "/v1/traces"


class TraceExport:
    """Sends spans in batches. What the OTEL_… variables say of resource, headers, time limits and TLS holds."""

    def __init__(self, endpoint: str, protocol: Literal["grpc", "http"], ratio: float) -> None:
        """Begin to send, without waiting for the collector to be there; raises StartupError for what is no address."""
        if urlsplit(endpoint).scheme not in {"http", "https"} or not urlsplit(endpoint).netloc:
            raise StartupError(f"--otlp-endpoint {endpoint}: must be an address such as http://collector:4317")
        # Of what goes wrong the libraries tell at length and each time; _Teller does it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        exporter = GrpcExporter(endpoint) if protocol == "grpc" else HttpExporter(_with_path(endpoint))
        self._endpoint = endpoint
        self._provider = TracerProvider(
            ByLinks(ParentBased(TraceIdRatioBased(ratio))), _resource(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Teller(exporter, endpoint)))
        self.tracer: Tracer = self._provider.get_tracer("lapis", version("lapis"))

    def close(self) -> None:
        """Send what is left, if that takes no more than a few seconds."""
        # The libraries' own limit is half a minute, and more where a collector answers slowly.
        closing = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(_PATIENCE)
        if closing.is_alive():
            log.warning("traces_lost", endpoint=self._endpoint)


class ByLinks(Sampler):
    """Samples what is linked to a span that was sampled, and leaves the rest to another sampler."""

    def __init__(self, others: Sampler) -> None:
        self._others = others

    def should_sample(  # noqa: PLR0917 (the library's signature)
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide on one span that is about to start."""
        if any(link.context.trace_flags.sampled for link in links or ()):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return self._others.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Return the sampler's name."""
        return f"ByLinks({self._others.get_description()})"


class _Teller(SpanExporter):
    """Exports by another exporter; tells when spans begin to be lost, and when they get through again."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; they are lost if that fails."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.FAILURE:
            if not self._lost:
                log.warning("traces_lost", endpoint=self._endpoint, spans=len(spans))
            self._lost += len(spans)
        elif self._lost:
            log.info("traces_sent_again", endpoint=self._endpoint, lost=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._exporter.shutdown()


def _with_path(endpoint: str) -> str:
    """Return where OTLP over HTTP takes traces, given a collector's address with or without that path."""
    bare = endpoint.rstrip("/")
    return bare if bare.endswith(_HTTP_PATH) else bare + _HTTP_PATH


def _resource() -> Resource:
    ours = {
        "service.name": "lapis",
        "service.version": version("lapis"),
        "service.instance.id": str(uuid4()),
    }
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})
