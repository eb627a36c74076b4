from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from lapis.v1 import translation_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from structlog.testing import capture_logs

from service.errors import StartupError
from service.scheduler.cost import CostModel
from service.settings import ServeSettings
from service.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.conftest import Gate, Png, Serving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Received:
    """What a collector was sent."""

    requests: list[otlp.ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for one in self.requests
            for of in one.resource_spans
            for scope in of.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def resource(self) -> dict[str, str]:
        return {one.key: one.value.string_value for one in self.requests[0].resource_spans[0].resource.attributes}


class GrpcCollector(otlp_grpc.TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(self, request: otlp.ExportTraceServiceRequest, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        self._received.headers.append({key: str(value) for key, value in context.invocation_metadata()})
        self._received.requests.append(request)
        return otlp.ExportTraceServiceResponse()


@contextmanager
def grpc_collector() -> Iterator[tuple[str, Received]]:
    received = Received()
    server = grpc.server(ThreadPoolExecutor(2))
    otlp_grpc.add_TraceServiceServicer_to_server(GrpcCollector(received), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", received
    finally:
        server.stop(0)


@contextmanager
def http_collector() -> Iterator[tuple[str, Received]]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            received.headers.append({key.lower(): value for key, value in self.headers.items()})
            received.requests.append(otlp.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


COLLECTORS = {"grpc": grpc_collector, "http": http_collector}


@pytest.mark.parametrize("protocol", COLLECTORS)
async def test_request_and_its_batch_reach_the_collector(serving: Serving, png: Png, gate: Gate, protocol: str) -> None:
    with COLLECTORS[protocol]() as (endpoint, received):
        async with serving(
            {"m/1": "invert"}, otlp_endpoint=endpoint, otlp_protocol=protocol, max_batch_size=2
        ) as service:
            service.model.queue.costs = CostModel({1: 1.0, 2: 1.1})  # or a batch might not be worth it
            gate.close()
            first = service.translate(png(0), request_id="first")
            await service.until(lambda: gate.reached == [1])
            rest = [service.translate(png(1), request_id=name) for name in ("second", "third")]
            await service.until(lambda: service.model.queue.depth == 2)
            gate.open()
            await asyncio.gather(first, *rest)
    requests = {
        attributes(span)["lapis.request_id"]: span for span in received.named("lapis.v1.TranslationService/Translate")
    }
    assert set(requests) == {"first", "second", "third"}
    assert {span.kind for span in requests.values()} == {Span.SPAN_KIND_SERVER}
    assert len({span.trace_id for span in requests.values()}) == 3
    for span in requests.values():
        assert {child.name for child in children(received, span)} == {"decode", "queue", "infer", "encode"}
        told = attributes(span)
        assert (told["rpc.system"], told["rpc.service"]) == ("grpc", "lapis.v1.TranslationService")
        assert (told["rpc.method"], told["rpc.grpc.status_code"]) == ("Translate", 0)
        assert (told["lapis.model"], told["lapis.version"]) == ("m", "1")
    alone, pair = sorted(received.named("batch"), key=lambda span: len(span.links))
    assert {link.span_id for link in alone.links} == {requests["first"].span_id}
    assert {link.span_id for link in pair.links} == {requests["second"].span_id, requests["third"].span_id}
    assert attributes(pair) == {"lapis.model": "m", "lapis.version": 1, "lapis.batch_size": 2, "lapis.bucket": 2}
    assert not pair.parent_span_id
    (ran,) = [child for child in children(received, requests["second"]) if child.name == "infer"]
    assert [link.span_id for link in ran.links] == [pair.span_id], "and from the request one finds the batch"
    (waited,) = [child for child in children(received, requests["second"]) if child.name == "queue"]
    assert waited.end_time_unix_nano == ran.start_time_unix_nano
    assert received.resource()["service.name"] == "lapis"


async def test_trace_of_the_caller_goes_on(serving: Serving, png: Png) -> None:
    with grpc_collector() as (endpoint, received):
        async with serving({"m/1": "invert"}, otlp_endpoint=endpoint, trace_ratio=0) as service:
            call = service.stub.Translate(request(png(0)), metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),))
            await call
            told = dict(await call.trailing_metadata())["traceparent"]
            unwanted = service.stub.Translate(request(png(0)), metadata=(("traceparent", f"00-{TRACE}-{PARENT}-00"),))
            await unwanted
            await service.translate(png(0))
    (span,) = received.named("lapis.v1.TranslationService/Translate")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert told == f"00-{TRACE}-{span.span_id.hex()}-01"
    (batch,) = received.named("batch")
    assert [link.span_id for link in batch.links] == [span.span_id], "a batch is traced when a request in it is"


async def test_pictures_of_a_stream_are_traced_as_requests(serving: Serving, png: Png) -> None:
    with grpc_collector() as (endpoint, received):
        async with serving({"m/1": "invert"}, otlp_endpoint=endpoint) as service:
            call: Any = service.stub.TranslateStream(metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),))
            for picture in (png(0), b"no picture"):
                await call.write(pb.TranslateStreamRequest(request=request(picture)))
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
    spans = received.named("lapis.v1.TranslationService/TranslateStream")
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {(TRACE, PARENT)}
    assert sorted(attributes(span)["rpc.grpc.status_code"] for span in spans) == [
        0,
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
    ]


async def test_faults_of_the_server_are_errors_and_mistakes_of_callers_are_not(serving: Serving, png: Png) -> None:
    with grpc_collector() as (endpoint, received):
        async with serving({"m/1": "picky"}, otlp_endpoint=endpoint) as service:
            for picture in (png(255), b"no picture"):
                with pytest.raises(grpc.aio.AioRpcError):
                    await service.translate(picture)
    states = {
        attributes(span)["rpc.grpc.status_code"]: span.status.code
        for span in received.named("lapis.v1.TranslationService/Translate")
    }
    assert states == {
        grpc.StatusCode.INTERNAL.value[0]: Status.STATUS_CODE_ERROR,
        grpc.StatusCode.INVALID_ARGUMENT.value[0]: Status.STATUS_CODE_UNSET,
    }


async def test_collector_that_is_not_there_costs_requests_nothing_and_the_log_a_line(
    serving: Serving, png: Png, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with capture_logs() as logs:
        async with serving({"m/1": "invert"}, otlp_endpoint="http://127.0.0.1:1") as service:
            for _ in range(20):
                assert (await service.translate(png(0))).encoded
    assert len([entry for entry in logs if entry["event"] == "traces_lost"]) == 1
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


async def test_environment_of_opentelemetry_is_heeded(
    serving: Serving, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=ours")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
    with grpc_collector() as (endpoint, received):
        async with serving({"m/1": "invert"}, otlp_endpoint=endpoint) as service:
            await service.translate(png(0))
    assert received.resource()["service.name"] == "ours"
    assert received.resource()["deployment.environment.name"] == "test"
    assert received.headers[0]["x-key"] == "secret"


async def test_without_a_collector_there_are_no_traces(serving: Serving, png: Png) -> None:
    async with serving({"m/1": "invert"}) as service:
        call = service.translate(png(0))
        await call
        assert "traceparent" not in dict(await call.trailing_metadata())
    assert tracing.link() is None


@pytest.mark.parametrize("endpoint", ["collector:4317", "ftp://collector", "http://"])
def test_what_is_no_address_is_told_at_the_start(endpoint: str) -> None:
    with pytest.raises(StartupError, match="must be an address such as http://collector:4317"):
        tracing.configure(ServeSettings(otlp_endpoint=endpoint))


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in span.attributes}


def children(received: Received, span: Span) -> list[Span]:
    return [one for one in received.spans if one.parent_span_id == span.span_id and one.trace_id == span.trace_id]


def request(picture: bytes) -> pb.TranslateRequest:
    return pb.TranslateRequest(encoded=picture)
