"""`lapis-serve --probe`: a real command that asks real servers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.service.certificates import Authority
    from tests.service.conftest import Gate, LapisServe, Repository, Serving


def probe(*flags: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command in an environment as bare as that of a container without a shell."""
    command = [sys.executable, "-P", "-m", "service", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "", **(env or {})})


async def ask(*flags: object, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Returns the exit code and the one line that was written."""
    ended = await asyncio.to_thread(probe, *flags, env=env)
    (line,) = (ended.stdout + ended.stderr).splitlines()
    return ended.returncode, line


async def test_probe_tells_whose_service_serves(serving: Serving, gate: Gate) -> None:
    gate.close()
    async with serving({"a/1": "invert"}, wait=False) as service:
        address = f"127.0.0.1:{service.server.grpc_port}"
        loading = {name: await ask("--probe", address, "--probe-service", name) for name in ("", "startup", "liveness")}
        gate.open()
        await service.server.ready.wait()
        ready = {name: await ask("--probe", address, "--probe-service", name) for name in ("", "startup", "a", "b")}
    assert loading == {
        "": (1, f"lapis-serve: {address}: the server is NOT_SERVING"),
        "startup": (1, f"lapis-serve: {address}: startup is NOT_SERVING"),
        "liveness": (0, f"{address}: liveness is SERVING"),
    }
    assert ready == {
        "": (0, f"{address}: the server is SERVING"),
        "startup": (0, f"{address}: startup is SERVING"),
        "a": (0, f"{address}: a is SERVING"),
        "b": (1, f"lapis-serve: {address}: has no service or model b"),
    }


async def test_probe_ends_when_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        code, line = await ask("--probe", address, "--probe-timeout", "0.3")
        assert (code, line) == (1, f"lapis-serve: {address}: no answer in time")
    code, line = await ask("--probe", address)
    assert code == 1
    assert "Connection refused" in line


@pytest.mark.parametrize("address", ["50051", "one:1,two:2", "dns:///one:1"])
async def test_probe_asks_one_server(address: str) -> None:
    code, line = await ask("--probe", address)
    assert code == 2
    assert "--probe: must be HOST:PORT" in line


async def test_server_asks_itself_with_its_own_settings(
    lapis_serve: LapisServe, repository: Repository, authority: Authority
) -> None:
    """As a container's health check does, with the settings of the server in the environment."""
    pair, caller = authority.issue("lapis.studio.svc", "*.studio.svc"), authority.issue("caller@studio")
    own = {"LAPIS_SERVE_TLS_CERTIFICATE": str(pair.certificate), "LAPIS_SERVE_TLS_KEY": str(pair.key)}
    files = ("--tls-certificate", pair.certificate, "--tls-key", pair.key, "--tls-client-ca", authority.file)
    async with lapis_serve("--models", repository({"m/1": "invert"}), *files) as process:
        address = (await process.event("serving"))["grpc_address"]
        assert await ask("--probe", address, env=own) == (0, f"{address}: the server is SERVING")
        named = ("--probe", address, "--probe-ca", authority.file, "--probe-server-name", "lapis.studio.svc")
        shown = ("--tls-certificate", caller.certificate, "--tls-key", caller.key)
        assert (await ask(*named, *shown))[0] == 0
        assert (await ask(*named))[0] == 1, "nobody gets in without a certificate"
        assert (await ask("--probe", address))[0] == 1, "nor without TLS"
        code, line = await ask(*named[:-1], "another.name", *shown)
        assert code == 1
        assert "Hostname Verification" in line
        other = authority.issue("lapis.studio.svc", into="other")
        code, line = await ask("--probe", address, "--tls-certificate", other.certificate, "--tls-key", other.key)
        assert code == 1
        assert "no answer: " in line


async def test_missing_file_is_wrong_usage() -> None:
    code, line = await ask("--probe", "127.0.0.1:1", "--probe-ca", "none.pem")
    assert (code, line) == (2, "lapis-serve: error: --probe-ca: none.pem cannot be read: No such file or directory")


def test_probe_starts_without_what_a_server_needs() -> None:
    program = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules))))\n"
        "from service.__main__ import main\n"
        "main()"
    )
    command = [sys.executable, "-c", program, "--probe", "127.0.0.1:1"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LAPIS_")}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    heavy = {"onnxruntime", "cv2", "numpy", "prometheus_client", "starlette", "uvicorn", "opentelemetry"}
    loaded = set(json.loads(ended.stdout))
    assert "service.probe" in loaded
    assert heavy & loaded == set()
