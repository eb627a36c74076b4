from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import structlog
from lapis.v1 import translation_pb2 as pb
from structlog.testing import capture_logs

from service.edge import ledger
from service.errors import QueueFull
from service.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.conftest import Gate, Png, Serving
    from tests.service.edge.conftest import Edged

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_slow_request_is_told_with_where_its_time_went(serving: Serving, png: Png, gate: Gate) -> None:
    async with serving({"m/1": "invert"}, slow_request=0.05) as service:
        await service.translate(png(0), request_id="quick")
        gate.close()
        with capture_logs() as logged:
            call = service.translate(png(0, 30, 20), request_id="slow")
            await service.until(lambda: gate.reached == [1])
            began = asyncio.get_running_loop().time()
            await service.until(lambda: asyncio.get_running_loop().time() > began + 0.05)
            gate.open()
            answer = await call
    (slow,) = [entry for entry in logged if entry["event"] == "slow_request"]
    assert slow["log_level"] == "warning"
    assert {name: slow[name] for name in ("request_id", "method", "code", "model", "version")} == {
        "request_id": "slow",
        "method": "Translate",
        "code": "OK",
        "model": "m",
        "version": "1",
    }
    assert slow["seconds"] >= slow["infer"] >= 0.05
    assert {"decode", "queue", "encode"} <= slow.keys()
    assert (slow["sent_bytes"], slow["answer_bytes"]) == (len(png(0, 30, 20)), len(answer.encoded))
    assert (slow["height"], slow["width"], slow["channels"], slow["batch_size"]) == (8, 8, 3, 1)


async def test_flood_of_refusals_is_no_flood_of_lines(edged: Edged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_LINES", 5)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    try:
        async with edged() as edge:
            edge.script.fail(b"ab", QueueFull("too much", retry_after=1))
            with capture_logs() as logged:
                for _ in range(100):
                    with pytest.raises(grpc.aio.AioRpcError):
                        await edge.translate(b"ab")
            assert edge.metric("lapis_refused_requests_total", model="m", version="1", reason="QUEUE_FULL") == 100
    finally:
        structlog.reset_defaults()
    assert 5 <= len(logged) < 100
    assert {(entry["code"], entry["reason"]) for entry in logged} == {("RESOURCE_EXHAUSTED", "QUEUE_FULL")}
    assert len(logged) + sum(entry.get("unlogged", 0) for entry in logged) <= 100


async def test_no_request_is_slow_where_none_is_to_be(edged: Edged) -> None:
    async with edged(slow_request=0) as edge:
        with capture_logs() as logged:
            await edge.translate(b"ab")
    assert [entry["event"] for entry in logged] == ["request"]


@pytest.mark.usefixtures("_logs_as_before")
async def test_lines_of_a_request_carry_its_id_and_the_trace_of_its_caller(
    edged: Edged, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug", "json")
    async with edged() as edge:
        edge.script.fail(b"ab", ZeroDivisionError())
        call = edge.stub.Translate(
            pb.TranslateRequest(encoded=b"ab", request_id="mine"),
            metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),),
        )
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["request_failed", "request"]
    for line in lines:
        assert (line["request_id"], line["trace_id"], line["span_id"]) == ("mine", TRACE, PARENT)


async def test_refused_requests_are_counted_by_reason(edged: Edged) -> None:
    async with edged() as edge:
        edge.script.fail(b"ab", QueueFull("too much", retry_after=1))
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError):
                await edge.translate(b"ab")
        assert edge.metric("lapis_refused_requests_total", model="m", version="1", reason="QUEUE_FULL") == 2
        assert (
            edge.metric(
                "lapis_request_seconds_count", method="Translate", model="m", version="1", code="RESOURCE_EXHAUSTED"
            )
            == 2
        )
        assert edge.metric("lapis_in_flight_requests") == 0
