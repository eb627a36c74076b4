from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import descriptor_pool
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

from service.edge.load_report import LoadReport, parse

if TYPE_CHECKING:
    from tests.service.edge.conftest import Edged

Code = grpc.StatusCode


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Load:
    def __init__(self) -> None:
        self.clock = Clock()
        self.busy = self.crowding = 0.0
        self.report = LoadReport(lambda: self.busy, lambda: self.crowding, self.clock)

    def second(self, *codes: Code) -> None:
        for code in codes:
            self.report.count(code)
        self.clock.now += 1
        self.report.current()


def test_utilization_is_what_is_busy_and_what_waits() -> None:
    load = Load()
    load.busy, load.crowding = 0.75, 0.5
    load.second()
    told = parse(load.report.current())
    assert told.application_utilization == 1.25
    assert dict(told.named_metrics) == {"busy": 0.75, "crowding": 0.5}


def test_idle_server_is_not_taken_for_one_of_which_nothing_is_known() -> None:
    assert 0 < parse(Load().report.current()).application_utilization < 0.05


def test_rates_come_to_what_is_done_in_a_second() -> None:
    load = Load()
    for _ in range(20):
        load.second(*[Code.OK] * 6, Code.INVALID_ARGUMENT, Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
    told = parse(load.report.current())
    assert told.rps_fractional == pytest.approx(9, rel=0.01)
    assert told.eps == pytest.approx(2, rel=0.01), "a caller's own mistakes do not count"
    for _ in range(20):
        load.second()
    assert parse(load.report.current()).rps_fractional == pytest.approx(0, abs=0.01)


def test_report_is_written_anew_only_after_a_while() -> None:
    load = Load()
    before = load.report.current()
    load.busy = 1.0
    load.clock.now += 0.05
    assert load.report.current() is before
    load.clock.now += 0.06
    assert parse(load.report.current()).application_utilization == 1.0


def test_report_is_what_grpc_s_own_message_would_be() -> None:
    load = Load()
    load.busy = 0.5
    load.second()
    # Field 9 as a double, and field 8 with "busy" as its first key: by the numbers of xds.data.orca.v3.
    assert b"\x49\x00\x00\x00\x00\x00\x00\xe0\x3f" in load.report.current()
    assert b"\x42\x0f\x0a\x04busy\x11\x00\x00\x00\x00\x00\x00\xe0\x3f" in load.report.current()


def test_class_of_the_report_is_in_nobody_else_s_way() -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("xds.data.orca.v3.OrcaLoadReport")


# A stock client's: weights as soon as there are reports, and renewed often.
WEIGHTED = {
    "loadBalancingConfig": [{"weighted_round_robin": {"blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s"}}],
}


async def test_stock_client_prefers_the_idle_of_two_servers(edged: Edged) -> None:
    async with AsyncExitStack() as stack:
        idle, busy = [await stack.enter_async_context(edged()) for _ in range(2)]
        busy.registry.models[0].serving().admission.requests = 256
        address = f"ipv4:127.0.0.1:{idle.port},127.0.0.1:{busy.port}"
        options = [("grpc.service_config", json.dumps(WEIGHTED))]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            stub = pb_grpc.TranslationServiceStub(channel)
            request = pb.TranslateRequest(encoded=b"ab")
            # Until weights are known calls are spread evenly.
            while len(idle.script.orders) < 4 * len(busy.script.orders) + 4:
                await stub.Translate(request)
            before = len(idle.script.orders), len(busy.script.orders)
            for _ in range(500):
                await stub.Translate(request)
    gained = len(idle.script.orders) - before[0], len(busy.script.orders) - before[1]
    assert sum(gained) == 500
    assert gained[0] > 3 * gained[1]
