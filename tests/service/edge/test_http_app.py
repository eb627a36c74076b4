from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.service.conftest import Gate, Png, Serving


async def test_ready_server_says_so_with_its_models(serving: Serving) -> None:
    async with serving({"a/1": "invert"}) as service:
        assert (await service.get("/livez")).status_code == 200
        ready = await service.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {
        "ready": True,
        "models": [
            {"name": "a", "version": "1", "state": "ready", "provider": "CPUExecutionProvider", "reason": ""},
        ],
    }


async def test_server_is_alive_but_not_ready_while_it_loads(serving: Serving, gate: Gate) -> None:
    gate.close()
    async with serving({"a/1": "invert"}, wait=False) as service:
        assert (await service.get("/livez")).status_code == 200
        loading, starting = await service.get("/readyz"), await service.get("/startupz")
        gate.open()
        await service.server.ready.wait()
        assert (await service.get("/startupz")).status_code == 200
        assert (await service.get("/readyz")).status_code == 200
    assert (loading.status_code, starting.status_code) == (503, 503)
    assert loading.json()["models"][0]["state"] == "loading"


async def test_server_that_drains_has_started_all_the_same(serving: Serving, gate: Gate, png: Png) -> None:
    async with serving({"a/1": "invert"}) as service:
        gate.close()
        call = asyncio.ensure_future(service.translate(png(1)))
        await service.until(lambda: len(gate.reached) > 0)
        service.stop.set()
        await service.until(lambda: not service.server.registry.is_ready)
        codes = [(await service.get(path)).status_code for path in ("/livez", "/readyz", "/startupz")]
        gate.open()
        await call
    assert codes == [200, 503, 200]


async def test_metrics_tell_of_a_request(serving: Serving, png: Png) -> None:
    async with serving({"a/1": "invert"}, max_batch_size=4) as service:
        await service.translate(png(1))
        text = (await service.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counted = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    model = (("model", "a"), ("version", "1"))
    assert counted["lapis_request_seconds_count", ("code", "OK"), ("method", "Translate"), *model] == 1
    for stage in ("decode", "queue", "infer", "encode"):
        assert counted["lapis_stage_seconds_count", ("model", "a"), ("stage", stage), ("version", "1")] == 1
    assert counted["lapis_batch_size_sum", *model] == 1
    assert counted["lapis_engine_busy_seconds_total", *model] > 0
    assert counted["lapis_batch_padding_rows_sum", *model] == 0
    assert counted["lapis_answers_total", *model] == 1
    assert 0 < counted["lapis_engine_busy_ratio",] <= 1
    assert counted["lapis_engine_lanes",] == 1
    assert counted["lapis_model_ready", *model] == 1
    assert counted["lapis_model_info", ("model", "a"), ("provider", "CPUExecutionProvider"), ("version", "1")] == 1
    assert counted["lapis_cost_row_seconds", *model] >= 0
    for gauge in ("lapis_queue_requests", "lapis_queue_bytes", "lapis_admitted_requests", "lapis_admitted_bytes"):
        assert counted[gauge, *model] == 0
    assert counted["lapis_in_flight_requests",] == 0
    assert counted["lapis_build_info", ("version", version("lapis"))] == 1


async def test_metrics_come_in_the_form_that_prometheus_asks_for(serving: Serving) -> None:
    async with serving({"a/1": "invert"}) as service:
        plain = await service.get("/metrics")
        open_metrics = await service.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert plain.headers["content-type"].startswith("text/plain")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")
