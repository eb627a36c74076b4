"""The real process: signals, ports, broken repositories."""

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
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.service.conftest import LapisServe, Png, Repository, WriteModel

# Of the slow model: about a second, and longer than any test.
A_WHILE, FOREVER = 20, 254


@asynccontextmanager
async def client(serving: dict[str, Any]) -> AsyncIterator[pb_grpc.TranslationServiceAsyncStub]:
    async with grpc.aio.insecure_channel(serving["grpc_address"]) as channel:
        yield pb_grpc.TranslationServiceStub(channel)


async def in_flight(serving: dict[str, Any]) -> None:
    """Waits until the engine runs."""
    async with httpx.AsyncClient() as http:
        while True:
            metrics = (await http.get(f"http://{serving['http_address']}/metrics")).text
            if (
                "lapis_batch_size_count" in metrics
                and 'lapis_batch_size_count{model="m",version="1"} 0.0' not in metrics
            ):
                return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serves_until_told_to_stop(
    lapis_serve: LapisServe, repository: Repository, png: Png, number: signal.Signals
) -> None:
    async with lapis_serve("--models", repository({"m/1": "invert"})) as process:
        serving = await process.event("serving")
        async with client(serving) as stub:
            assert (await stub.Translate(pb.TranslateRequest(encoded=png(1)))).encoded
        assert serving["grpc_port"] != serving["http_port"]
        process.signal(number)
        assert (await process.event("stopped"))["finished"] is True
        assert await process.end() == 0


async def test_requests_in_hand_are_finished_and_new_ones_refused(
    lapis_serve: LapisServe, repository: Repository, png: Png
) -> None:
    async with lapis_serve("--models", repository({"m/1": "slow"})) as process:
        serving = await process.event("serving")
        async with client(serving) as stub, client(serving) as latecomer:
            accepted = asyncio.ensure_future(stub.Translate(pb.TranslateRequest(encoded=png(A_WHILE))))
            await in_flight(serving)
            process.signal(signal.SIGTERM)
            await process.event("draining")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await latecomer.Translate(pb.TranslateRequest(encoded=png(0)))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert (await accepted).encoded
        assert await process.end() == 0


async def test_signal_while_models_load_ends_the_server(lapis_serve: LapisServe, repository: Repository) -> None:
    async with lapis_serve("--models", repository({"m/1": "invert", "n/1": "invert"})) as process:
        await process.event("listening")
        process.signal(signal.SIGTERM)
        assert await process.end() == 0


async def test_second_signal_ends_at_once(lapis_serve: LapisServe, repository: Repository, png: Png) -> None:
    async with lapis_serve("--models", repository({"m/1": "slow"})) as process:
        serving = await process.event("serving")
        async with client(serving) as stub:
            call = asyncio.ensure_future(stub.Translate(pb.TranslateRequest(encoded=png(FOREVER))))
            await in_flight(serving)
            process.signal(signal.SIGTERM)
            await process.event("draining")
            process.signal(signal.SIGTERM)
            assert await process.end() == 128 + signal.SIGTERM
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def test_grace_period_bounds_the_end(lapis_serve: LapisServe, repository: Repository, png: Png) -> None:
    async with lapis_serve("--models", repository({"m/1": "slow"}), "--grace-period", 0.2) as process:
        serving = await process.event("serving")
        async with client(serving) as stub:
            call = asyncio.ensure_future(stub.Translate(pb.TranslateRequest(encoded=png(FOREVER))))
            await in_flight(serving)
            process.signal(signal.SIGTERM)
            assert (await process.event("stopped"))["finished"] is False
            assert await process.end() == 1
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def test_gpu_demanded_and_not_there_is_never_ready(
    lapis_serve: LapisServe, repository: Repository, png: Png
) -> None:
    async with lapis_serve("--models", repository({"m/1": "invert"}), "--devices", "cuda") as process:
        listening = await process.event("listening")
        first = await asyncio.wait_for(process.event("model_failed"), 60)
        if first["event"] != "model_failed":
            pytest.skip("there is a GPU here")
        assert "asked for a GPU" in first["reason"]
        async with httpx.AsyncClient() as http:
            ready = await http.get(f"http://{listening['http_address']}/readyz")
        assert ready.status_code == 503
        assert ready.json()["models"][0]["reason"] == first["reason"]
        async with grpc.aio.insecure_channel(listening["grpc_address"]) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 2
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await pb_grpc.TranslationServiceStub(channel).Translate(pb.TranslateRequest(encoded=png(0)))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        process.signal(signal.SIGTERM)
        assert await process.end() == 0


@pytest.mark.parametrize("flag", ["--port", "--http-port"])
async def test_port_in_use_is_one_line(lapis_serve: LapisServe, repository: Repository, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with lapis_serve("--models", repository({"m/1": "invert"}), flag, port) as process:
            assert await process.end() == 2
    assert process.lines == [f"lapis-serve: error: cannot listen on 127.0.0.1:{port}: Address already in use"]


async def test_unknown_host_is_one_line(lapis_serve: LapisServe, repository: Repository) -> None:
    async with lapis_serve("--models", repository({"m/1": "invert"}), "--host", "no.such.host.invalid") as process:
        assert await process.end() == 2
    assert len(process.lines) == 1
    assert process.lines[0].startswith("lapis-serve: error: cannot listen on no.such.host.invalid:0: ")


async def test_broken_model_is_named_in_the_last_line(
    lapis_serve: LapisServe, tmp_path: Path, write_model: WriteModel
) -> None:
    good, bad = tmp_path / "a" / "1" / "model.onnx", tmp_path / "b" / "1" / "model.onnx"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(write_model(good).read_bytes()[:-30])
    async with lapis_serve("--models", tmp_path) as process:
        assert await process.end() == 2
    *logs, last = process.lines
    assert [json.loads(line)["event"] for line in logs] == ["listening", "placed", "model_loaded"]
    assert last.startswith(f"lapis-serve: error: {bad}: ONNX Runtime cannot load it: ")


async def test_model_that_fails_on_its_first_picture_is_named(lapis_serve: LapisServe, repository: Repository) -> None:
    models = repository({"m/1": "broken"})
    async with lapis_serve("--models", models) as process:
        assert await process.end() == 2
    assert process.lines[-1].startswith(
        f"lapis-serve: error: {models}/m/1/model.onnx: the model fails on a blank picture"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_unreadable_model_is_named(lapis_serve: LapisServe, repository: Repository) -> None:
    models = repository({"m/1": "invert"})
    (models / "m/1/model.onnx").chmod(0)
    async with lapis_serve("--models", models) as process:
        assert await process.end() == 2
    assert process.lines == [
        f"lapis-serve: error: the model repository cannot be read: {models}/m/1/model.onnx: Permission denied"
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "nowhere"], "the model repository cannot be read: nowhere: No such file or directory"),
        (["--models", "."], ".: the model repository is empty; expected NAME/VERSION/model.onnx in it"),
        (["--default-model", "b", "--models", "good"], "--default-model b: no such model; the repository has m"),
        (["--modles", "x"], "unrecognized arguments: --modles x (see lapis-serve --help)"),
    ],
)
async def test_mistake_is_one_line(
    lapis_serve: LapisServe,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    flags: list[str],
    message: str,
) -> None:
    (tmp_path / "here").mkdir()
    repository({"m/1": "invert"}).rename(tmp_path / "here" / "good" if "good" in flags else tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "here")
    async with lapis_serve(*flags) as process:
        assert await process.end() == 2
    assert process.lines == [f"lapis-serve: error: {message}"]


async def test_every_log_line_is_json_and_requests_carry_their_id(
    lapis_serve: LapisServe, repository: Repository, png: Png
) -> None:
    async with lapis_serve("--models", repository({"m/1": "invert"}), "--log-level", "debug") as process:
        serving = await process.event("serving")
        async with client(serving) as stub:
            await stub.Translate(pb.TranslateRequest(encoded=png(1), request_id="the-one"))
        request = await process.event("request")
        process.signal(signal.SIGTERM)
        assert await process.end() == 0
    assert (request["request_id"], request["code"], request["model"]) == ("the-one", "OK", "m")
    assert [json.loads(line)["level"] for line in process.lines]


def test_lost_engine_ends_the_process(repository: Repository) -> None:
    lose_it = """
from service import __main__, serving
from service.errors import EngineLost

async def run(server, stop):
    raise EngineLost("model m version 1: broken for good")

serving.Server.run = run
__main__.main()
"""
    command = [sys.executable, "-c", lose_it, "--models", str(repository({"m/1": "invert"})), "--log-format", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["event"], line["level"], line["reason"]) == (
        "engine_lost", "error", "model m version 1: broken for good",
    )  # fmt: skip
