"""`lapis-bulk` on a Ray cluster of this machine: it survives the death of an actor, and of itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

ROOT = Path(__file__).parents[3]
PICTURES = 60
HANGS = 120.0


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The command over drawings of different sizes, with the bundled model."""
    drawings = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    for number in range(PICTURES):
        canvas = np.full((64 + number, 96, 3), 255, np.uint8)
        start, end = (tuple(int(value) for value in drawings.integers(0, 64, 2)) for _ in range(2))
        cv2.line(canvas, start, end, (0, 0, 0), 2)
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), canvas)
    return [
        *(sys.executable, "-m", "service.bulk", str(tmp_path / "in"), "--output", str(tmp_path / "out")),
        *("--models", str(ROOT / "models"), "--failures", str(tmp_path / "failures.jsonl")),
        *("--ray", "local", "--cpus", "1", "--unit", "5", "--window", "2"),
    ]


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Waits for what another process does."""
    end = time.monotonic() + HANGS
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def actors(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    return [one for one in found if "MapWorker" in " ".join(one.cmdline())]


def begin(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )


def everything_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]


@pytest.mark.slow
def test_run_survives_the_death_of_an_actor(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    process = begin(command)
    until(lambda: len(written(tmp_path / "out")) >= 3, process)
    victim = actors(process)[0]
    victim.kill()
    output, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 1, errors
    assert f"{PICTURES} pictures translated, 1 failed" in output
    assert written(tmp_path / "out") == sorted(f"{number}.png" for number in range(PICTURES))
    (failure,) = map(json.loads, (tmp_path / "failures.jsonl").read_text().splitlines())
    assert failure["name"] == "broken.png"
    for path in (tmp_path / "out").glob("*.png"):
        assert cv2.imread(str(path)).shape == (256, 256, 3)


@pytest.mark.slow
def test_same_command_goes_on_where_the_last_was_killed(command: list[str], tmp_path: Path) -> None:
    process = begin(command)
    until(lambda: len(written(tmp_path / "out")) >= 3, process)
    for one in everything_below(process):
        os.kill(one.pid, signal.SIGKILL)
    process.communicate()
    done = len(written(tmp_path / "out"))
    assert 3 <= done < PICTURES
    again = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert again.returncode == 0, again.stderr
    assert f"{PICTURES} found, {done} done already, {PICTURES - done} pictures to do" in again.stdout
    assert f"{PICTURES - done} pictures translated in" in again.stdout
    assert len(written(tmp_path / "out")) == PICTURES
    other = subprocess.run([*command, "--format", "jpeg"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (other.returncode, other.stdout) == (2, "")
    assert "was begun by another run (format 'png', now 'jpeg')" in other.stderr
