"""`--workers`: real processes behind one port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc
from prometheus_client.parser import text_string_to_metric_families

from service.edge.listen import reserve
from service.workers.keeping import GIVE_UP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.service.conftest import LapisServe, Png, Process, Repository

    Stub = pb_grpc.TranslationServiceAsyncStub

# Of the slow model: about a second, and longer than any test.
A_WHILE, FOREVER = 20, 254
RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


@asynccontextmanager
async def connection(serving: dict[str, Any]) -> AsyncIterator[Stub]:
    """Connects anew, and tries again what finds nobody."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", json.dumps(RETRIES))]
    async with grpc.aio.insecure_channel(serving["grpc_address"], options=options) as channel:
        yield pb_grpc.TranslationServiceStub(channel)


async def answered_by(process: Process, stub: Stub, picture: bytes) -> int:
    """Translates a picture; returns which worker did it, which its log tells."""
    await stub.Translate(pb.TranslateRequest(encoded=picture))
    worker: int = (await process.event("request"))["worker"]
    return worker


async def get(serving: dict[str, Any], path: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.get(f"http://{serving['http_address']}{path}")


async def total(serving: dict[str, Any], name: str) -> float:
    """Returns the sum of a metric over all its series."""
    families = text_string_to_metric_families((await get(serving, "/metrics")).text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


async def serving_with(process: Process) -> tuple[dict[str, Any], dict[int, int]]:
    """Reads on until two workers serve; returns where, and the process of each."""
    pids = {event["worker"]: event["pid"] for event in [await process.event("worker_started") for _ in range(2)]}
    return await process.event("serving"), pids


async def in_flight(serving: dict[str, Any]) -> None:
    """Waits until an engine runs."""
    while not await total(serving, "lapis_batch_size_count"):
        pass


async def gone(pid: int) -> None:
    """Waits until a process that is not a child of ours has ended."""
    descriptor = os.pidfd_open(pid)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 60)
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def left_behind(supervisor: int) -> list[Path]:
    """Returns the folders of a supervisor that there are."""
    return list(Path("/dev/shm").glob(f"lapis-{supervisor}-*"))


def alive(pids: Iterable[int]) -> list[int]:
    """Returns which of the processes run."""
    return [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]


async def test_workers_share_the_port_and_speak_with_one_voice(
    lapis_serve: LapisServe, repository: Repository, png: Png
) -> None:
    flags = ("--models", repository({"m/1": "invert"}), "--workers", 2, "--log-level", "debug")
    async with lapis_serve(*flags) as process:
        listening = await process.event("listening")
        assert (await get(listening, "/livez")).status_code == 200
        assert [(await get(listening, path)).status_code for path in ("/readyz", "/startupz")] == [503, 503]
        serving, pids = await serving_with(process)
        addresses = {name: value for name, value in serving.items() if name.startswith(("grpc_", "http_"))}
        assert addresses.items() <= listening.items()
        assert left_behind(process.pid)
        by: list[int] = []
        while set(by) != {0, 1}:
            assert len(by) < 64, "the kernel hands all connections to one worker"
            async with connection(serving) as stub:
                by.append(await answered_by(process, stub, png(1)))
        ready = await get(serving, "/readyz")
        assert [ready.status_code, (await get(serving, "/startupz")).status_code] == [200, 200]
        assert [worker["models"][0]["state"] for worker in ready.json()["workers"]] == ["ready", "ready"]
        assert ready.json()["models"] == ready.json()["workers"][0]["models"]
        assert await total(serving, "lapis_answers_total") == len(by)
        assert await total(serving, "lapis_batch_size_count") == len(by)
        assert await total(serving, "lapis_request_seconds_count") == len(by)
        assert await total(serving, "lapis_engine_lanes") == 2
        assert await total(serving, "lapis_workers_ready") == 2
        assert await total(serving, "lapis_model_ready") == 1
        assert await total(serving, "lapis_build_info") == 1
        process.signal(signal.SIGTERM)
        assert (await process.event("stopped"))["finished"] is True
        assert await process.end() == 0
    assert len(set(pids.values())) == 2
    assert not left_behind(process.pid)


async def test_dead_worker_is_replaced_while_calls_go_on(
    lapis_serve: LapisServe, repository: Repository, png: Png
) -> None:
    flags = ("--models", repository({"m/1": "invert"}), "--workers", 2, "--log-level", "debug")
    async with lapis_serve(*flags) as process:
        serving, pids = await serving_with(process)
        async with connection(serving) as stub:
            victim = await answered_by(process, stub, png(1))
            os.kill(pids[victim], signal.SIGKILL)
            assert await answered_by(process, stub, png(1)) == 1 - victim
        started = await process.event("worker_started")
        assert (started["worker"], started["pid"] == pids[victim]) == (victim, False)
        assert (await get(serving, "/readyz")).status_code == 200
        await process.event("worker_ready", worker=victim)
        assert await total(serving, "lapis_answers_total") == 2
        assert await total(serving, "lapis_worker_restarts_total") == 1
        process.signal(signal.SIGTERM)
        assert await process.end() == 0
    died = [json.loads(line) for line in process.lines if "worker_ended" in line]
    assert [(event["worker"], event["code"]) for event in died] == [(victim, -signal.SIGKILL)]


async def test_requests_in_hand_are_finished_and_a_second_signal_ends_at_once(
    lapis_serve: LapisServe, repository: Repository, png: Png
) -> None:
    models = repository({"m/1": "slow"})
    async with lapis_serve("--models", models, "--workers", 2) as process:
        serving, _ = await serving_with(process)
        async with connection(serving) as stub:
            accepted = asyncio.ensure_future(stub.Translate(pb.TranslateRequest(encoded=png(A_WHILE))))
            await in_flight(serving)
            process.signal(signal.SIGTERM)
            await process.event("draining")
            assert (await get(serving, "/readyz")).status_code == 503
            assert (await accepted).encoded
        assert await process.end() == 0
    async with lapis_serve("--models", models, "--workers", 2) as process:
        serving, pids = await serving_with(process)
        async with connection(serving) as stub:
            call = asyncio.ensure_future(stub.Translate(pb.TranslateRequest(encoded=png(FOREVER))))
            await in_flight(serving)
            process.signal(signal.SIGTERM)
            await process.event("draining")
            process.signal(signal.SIGTERM)
            assert await process.end() == 128 + signal.SIGTERM
            with pytest.raises(grpc.aio.AioRpcError):
                await call
    assert not alive(pids.values())
    assert not left_behind(process.pid)


async def test_workers_do_not_outlive_their_supervisor(lapis_serve: LapisServe, repository: Repository) -> None:
    async with lapis_serve("--models", repository({"m/1": "invert"}), "--workers", 2) as process:
        _, pids = await serving_with(process)
        ends = [asyncio.ensure_future(gone(pid)) for pid in pids.values()]
        process.signal(signal.SIGKILL)
        await asyncio.gather(*ends)
    assert not left_behind(process.pid)


async def test_workers_that_die_before_they_are_ready_are_given_up(
    lapis_serve: LapisServe, repository: Repository
) -> None:
    deaths = {0: 0, 1: 0}
    async with lapis_serve("--models", repository({"m/1": "invert"}), "--workers", 2) as process:
        while max(deaths.values()) < GIVE_UP:
            started = await process.event("worker_started")
            deaths[started["worker"]] += 1
            os.kill(started["pid"], signal.SIGKILL)
        await process.event("workers_lost")
        assert await process.end() == 1


async def test_broken_model_ends_the_start_with_one_line(lapis_serve: LapisServe, repository: Repository) -> None:
    models = repository({"m/1": "broken"})
    async with lapis_serve("--models", models, "--workers", 2) as process:
        assert await process.end() == 2
    complaints = [line for line in process.lines if not line.startswith("{")]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"lapis-serve: error: {models}/m/1/model.onnx: the model fails on a blank picture")


@pytest.mark.parametrize("shared", [False, True])
async def test_foreign_server_on_the_port_is_one_line(
    lapis_serve: LapisServe, repository: Repository, *, shared: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=shared) as taken:
        port = taken.getsockname()[1]
        async with lapis_serve("--models", repository({"m/1": "invert"}), "--workers", 2, "--port", port) as process:
            assert await process.end() == 2
    assert process.lines == [f"lapis-serve: error: cannot listen on 127.0.0.1:{port}: Address already in use"]


async def test_supervisor_whose_workers_still_load_has_the_port(
    lapis_serve: LapisServe, repository: Repository
) -> None:
    with reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        async with lapis_serve("--models", repository({"m/1": "invert"}), "--workers", 2, "--port", port) as process:
            assert await process.end() == 2
    assert process.lines == [f"lapis-serve: error: cannot listen on 127.0.0.1:{port}: Address already in use"]


async def test_control_of_models_needs_one_process(lapis_serve: LapisServe, repository: Repository) -> None:
    flags = ("--models", repository({"m/1": "invert"}), "--workers", 2, "--model-control")
    async with lapis_serve(*flags) as process:
        assert await process.end() == 2
    assert process.lines == [
        "lapis-serve: error: --model-control: a caller would reach one of the --workers only; use --workers 1"
    ]


def test_worker_started_by_hand_says_who_starts_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "service.workers.worker"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        "lapis-serve: error: a worker is started by lapis-serve --workers, and by nobody else\n",
    )
