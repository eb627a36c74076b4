from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.errors import BenchError
from bench.watch import Watch, Watched, gauges

PAGE = """\
# TYPE lapis_queue_requests gauge
lapis_queue_requests{{model="a",version="1"}} {queued}
lapis_queue_requests{{model="b",version="1"}} 2
# TYPE lapis_refused_requests counter
lapis_refused_requests_total{{model="a",reason="QUEUE_FULL"}} {refused}
lapis_refused_requests_created{{model="a",reason="QUEUE_FULL"}} 1.7e9
# TYPE process_cpu_seconds counter
process_cpu_seconds_total {cpu}
# TYPE lapis_request_seconds histogram
lapis_request_seconds_bucket{{code="OK",le="1.0",method="Translate"}} {in_time}
lapis_request_seconds_bucket{{code="OK",le="+Inf",method="Translate"}} {answered}
lapis_request_seconds_bucket{{code="OK",le="+Inf",method="ListModels"}} 70
lapis_request_seconds_bucket{{code="NOT_FOUND",le="+Inf",method="Translate"}} 80
lapis_request_seconds_count{{code="OK",method="Translate"}} {answered}
"""
BEFORE = PAGE.format(queued=1, refused=10, cpu=3.0, in_time=5, answered=6)
AFTER = PAGE.format(queued=7, refused=25, cpu=4.5, in_time=15, answered=18)


@contextmanager
def metrics(pages: list[str]) -> Iterator[str]:
    """Serves one page after the other, the last for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((pages.pop(0) if len(pages) > 1 else pages[0]).encode())

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def test_tells_what_changed_between_beginning_and_end() -> None:
    with metrics([BEFORE, AFTER]) as address:
        watch = Watch([address], [], 10)
        await watch.begin()
        seen = await watch.end()
    assert seen.counters == {
        'lapis_refused_requests_total{model="a",reason="QUEUE_FULL"}': 15,
        'lapis_request_seconds_count{code="OK",method="Translate"}': 12,
        "process_cpu_seconds_total": 1.5,
    }
    assert seen.series["lapis_queue_requests"] == [3, 9]
    assert seen.answered_within == {1.0: 10, math.inf: 12}
    assert seen.cpu_seconds == 1.5


async def test_several_servers_are_added_up() -> None:
    with metrics([BEFORE, AFTER]) as one, metrics([BEFORE, AFTER]) as other:
        watch = Watch([one, other], [], 10)
        await watch.begin()
        seen = await watch.end()
    assert seen.series["lapis_queue_requests"] == [6, 18]
    assert seen.counters["process_cpu_seconds_total"] == 3


async def test_server_that_is_gone_in_the_end_is_no_error() -> None:
    with metrics([BEFORE]) as address:
        watch = Watch([address], [], 10)
        await watch.begin()
    seen = await watch.end()
    assert seen.series["lapis_queue_requests"] == [3]
    assert seen.counters == {}


async def test_what_is_not_there_to_be_watched_is_told_before_the_load() -> None:
    with pytest.raises(BenchError, match=r"--http 127\.0\.0\.1:1: no metrics there"):
        await Watch(["127.0.0.1:1"], [], 10).begin()
    with pytest.raises(BenchError, match="no such process"):
        await Watch([], [2**30], 10).begin()


async def test_cpu_time_is_that_of_the_process_where_it_is_known() -> None:
    watch = Watch([], [os.getpid()], 10)
    await watch.begin()
    sum(range(3_000_000))
    assert (await watch.end()).cpu_seconds > 0


def test_series_have_as_many_values_as_there_are_moments() -> None:
    seen = Watched()
    seen.add(0, {"a": 1})
    seen.add(1, {"b": 2})
    seen.add(2, {"a": 3, "b": 4})
    assert [str(value) for value in seen.series["a"]] == ["1", "nan", "3"]
    assert [str(value) for value in seen.series["b"]] == ["nan", "2", "4"]


def test_gauges_are_summed_over_their_labels() -> None:
    assert gauges(BEFORE) == {"lapis_queue_requests": 3}
