"""The commands, as they are typed, against real servers in processes of their own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest

from bench.proof.identity import write_identity
from bench.proof.server import ServerProcess, lapis_serve

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SIDE = 16
PICTURE = ("--pictures", f"png:{SIDE}=0.5,raw:{SIDE}=0.5")
QUICK = ("--seconds", "0.4", "--warmup", "0", *PICTURE)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = tmp_path_factory.mktemp("models")
    write_identity(models / "identity" / "1" / "model.onnx", SIDE)
    with lapis_serve(models, ["--devices", "cpu", "--cpu-mode", "throughput"]) as server:
        yield server


def calls(server: ServerProcess) -> float:
    """Returns how many pictures the server has answered."""
    with urllib.request.urlopen(f"http://{server.http}/metrics") as page:
        found = re.search(r"^lapis_answers_total\S* (\S+)$", page.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def command(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)


def test_load_on_a_real_server_is_measured_written_and_drawn(serve: ServerProcess, tmp_path: Path) -> None:
    output, figure = tmp_path / "new" / "load.json", tmp_path / "load.png"
    where = ("--server", serve.address, "--http", serve.http, "--pid", serve.pid)
    what = ("--priority", "high=0.5,low=0.5", "--deadline", "5", "--cancel", "0.2", "--answer", "same")
    done = command("bench", *where, *QUICK, *what, "--output", output, "--plot", figure)
    assert (done.returncode, done.stderr) == (0, "")
    assert "goodput" in done.stdout
    figures = json.loads(output.read_text())
    assert figures["calls"]["good"] > 5
    assert figures["calls"]["failed"] == 0
    assert figures["latency"].keys() == {"all", "high", "low"}
    assert figures["answered_by"] == {"identity/1": figures["calls"]["good"]}
    assert figures["server"]["series"]["lapis_engine_lanes"][0] >= 1
    assert figures["server"]["series"]["rss_bytes"][0] > 1e6
    assert cv2.imread(str(figure)) is not None


def test_load_over_streams_on_a_real_server_is_measured(serve: ServerProcess) -> None:
    done = command("bench", "--server", serve.address, *QUICK, "--stream", "--connections", "2", "--deadline", "5")
    assert (done.returncode, done.stderr) == (0, "")


def test_wrong_address_is_one_line_and_exit_code_2() -> None:
    done = command("bench", "--server", "127.0.0.1:1", "--connect-timeout", "0.2")
    assert done.returncode == 2
    assert done.stderr == "lapis-bench: error: --server 127.0.0.1:1: no gRPC server answers there within 0.2 s\n"
    assert done.stdout == ""


def test_ctrl_c_ends_the_load_with_a_report(serve: ServerProcess) -> None:
    words = [sys.executable, "-m", "bench", "--server", serve.address, "--http", serve.http, "--seconds", "600"]
    before = calls(serve)
    with subprocess.Popen([*words, *PICTURE], stdout=subprocess.PIPE, text=True, cwd=ROOT) as load:
        while calls(serve) < before + 20:
            assert load.poll() is None
        load.send_signal(signal.SIGINT)
        page, _ = load.communicate(timeout=60)
    assert load.returncode == 130
    assert "stopped before its time" in page


def test_service_is_held_against_a_bare_loop(tmp_path: Path) -> None:
    write_identity(tmp_path / "models" / "identity" / "1" / "model.onnx", SIDE)
    output = tmp_path / "figures.json"
    done = command(
        "bench.service_throughput",
        *("--models", tmp_path / "models", "--sent", "raw", "--seconds", "0.3", "--rounds", "1", "--cold-starts", "1"),
        *("--flags", "--devices cpu --cpu-mode throughput", "--output", output),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())
    assert 0 < figures["ratio"] < 1  # the bare loop does nothing but copy
    assert figures["pictures_per_second"]["service"] > 10
    assert figures["cold_start_seconds"][0] > 0
