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


def said(errors: str) -> list[str]:
    """The lines of what was said, but for those of Ray's own log."""
    return [line for line in errors.splitlines() if ".cc:" not in line]


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


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Has the actors run a program before they begin."""

    def patch(program: str) -> None:
        (tmp_path / "patch").mkdir()
        (tmp_path / "patch" / "sitecustomize.py").write_text(program)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "patch"))

    return patch


@pytest.mark.slow
def test_picture_that_ends_every_actor_ends_the_run(command: list[str], patched: Callable[[str], None]) -> None:
    patched(
        "import os\n"
        "from service.bulk import cluster\n"
        "cluster.RETRIES = 2\n"
        "cluster.Worker.work = lambda *_: os._exit(1)\n"
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=HANGS)
    assert done.returncode == 2
    (line,) = said(done.stderr)
    assert line.startswith("lapis-bulk: error: Ray: The actor")
    assert "What ends its actor is tried 2 times" in line


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("outputs", [0, 3])
def test_signal_ends_the_run_in_one_line(
    command: list[str], tmp_path: Path, number: signal.Signals, code: int, outputs: int
) -> None:
    process = begin(command)
    until(lambda: actors(process) and len(written(tmp_path / "out")) >= outputs, process)
    others = everything_below(process)[:-1]
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANGS)
    assert (process.returncode, said(errors)) == (code, ["interrupted; the same command goes on from here"])
    _, alive = psutil.wait_procs(others, timeout=HANGS)
    assert alive == []


@pytest.mark.slow
def test_signal_while_ray_starts_ends_the_run_in_one_line(command: list[str]) -> None:
    process = begin(command)
    until(lambda: psutil.Process(process.pid).children(), process)
    process.terminate()
    _, errors = process.communicate(timeout=HANGS)
    assert (process.returncode, said(errors)) == (143, ["interrupted; the same command goes on from here"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--cpus", "4096", "--actors", "1"], "--cpus 4096: an actor does not fit"),
        (["--seed", "3"], "--seed 3: the model edges2emoji takes none"),
    ],
)
def test_run_that_cannot_begin_says_why_in_one_line(
    command: list[str], tmp_path: Path, flags: list[str], told: str
) -> None:
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False, cwd=ROOT, timeout=HANGS)
    assert done.returncode == 2
    (line,) = said(done.stderr)
    assert line.startswith(f"lapis-bulk: error: {told}")
    assert not (tmp_path / "out" / ".lapis-bulk.json").exists()


@pytest.mark.slow
def test_home_that_cannot_be_written_is_told_of_in_one_line(command: list[str], tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("no folder")
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "HOME": str(home)}
    )
    assert done.returncode == 2
    assert done.stderr.startswith("lapis-bulk: error: --ray local: ")
    assert len(done.stderr.splitlines()) == 1
