"""The command lines of the manifests, run here: small networks on small pictures, nodes that are processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[3]
SYNCHRONISE = ROOT / "deploy" / "training" / "bucket" / "synchronise.sh"
SMALL = {
    "netG": "unet_32", "ngf": 4, "ndf": 4, "n-layers-D": 1, "load-size": 32, "crop-size": 32, "batch-size": 2,
    "num-workers": 1, "device": "cpu", "precision": "fp32", "n-epochs-decay": 0, "save-every": 1,
}  # fmt: skip
Manifests = Any  # what conftest.py gives
Start = Callable[..., subprocess.Popen[str]]


def localised(line: list[str], pairs: Path, runs: Path, port: int, **changes: object) -> list[str]:
    """The line with places and sizes of this machine, and a node of one process in place of one with GPUs."""
    places = {
        "/data/openmoji": str(pairs),
        "--output=/runs/openmoji": f"--output={runs / 'openmoji'}",
        "--nproc-per-node=gpu": "--nproc-per-node=1",
        "--master-addr=lapis-train-0.lapis-train": "--master-addr=127.0.0.1",
        "--master-port=29500": f"--master-port={port}",
        "torchrun": str(Path(sys.executable).with_name("torchrun")),
        "lapis-train": str(Path(sys.executable).with_name("lapis-train")),
    }
    small = SMALL | changes
    kept = [word for word in line if word.removeprefix("--").split("=")[0] not in small]
    return [places.get(word, word) for word in kept] + [f"--{name}={value}" for name, value in small.items()]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(line: list[str], **environment: object) -> subprocess.Popen[str]:
        given = {name: str(value) for name, value in environment.items()}
        process = subprocess.Popen(
            line, env=os.environ | {"OMP_NUM_THREADS": "1"} | given, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def lose(node: subprocess.Popen[str]) -> None:
    """Takes a node away at once, with all that runs on it."""
    everything = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
    for process in everything:
        process.send_signal(signal.SIGKILL)
    node.wait()


def until_saved(run: Path, *nodes: subprocess.Popen[str]) -> None:
    while not (run / "latest").exists():
        assert all(node.poll() is None for node in nodes), [node.communicate()[0] for node in nodes]
        time.sleep(0.05)


@pytest.mark.slow
def test_where_a_node_is_lost_the_other_ends_and_their_successors_go_on(
    manifests: Manifests, start: Start, pairs: Path, tmp_path: Path
) -> None:
    run, port = tmp_path / "openmoji", free_port()

    def nodes(**changes: object) -> list[subprocess.Popen[str]]:
        line = localised(manifests.command("torchrun"), pairs, tmp_path, port, **changes)
        return [start([word.replace("$(JOB_COMPLETION_INDEX)", rank) for word in line]) for rank in "01"]

    first, second = nodes(**{"n-epochs": 10_000})
    until_saved(run, first, second)
    lose(second)
    said = first.communicate(timeout=100)[0]
    assert first.returncode == 1
    assert said.count("lapis-train: error: another process is gone") == 1
    step = last_step(run)
    successors = nodes(**{"n-epochs": 10_000, "max-steps": step + 3})
    said = "".join(node.communicate(timeout=100)[0] for node in successors)
    assert [node.returncode for node in successors] == [0, 0], said
    assert "2 processes with batches of 2: 4 pairs a step" in said
    assert f"going on from step {step}" in said
    assert last_step(run) == step + 3


def last_step(run: Path) -> int:
    return int((run / "latest").readlink().name.removeprefix("step-"))


@pytest.mark.slow
def test_trainer_s_variables_tell_torchrun_where_to_meet(
    manifests: Manifests, start: Start, pairs: Path, tmp_path: Path
) -> None:
    count = manifests.one("trainjob", "TrainJob")["spec"]["trainer"]["numNodes"]
    line = localised(manifests.command("trainjob"), pairs, tmp_path, 0, **{"n-epochs": 1})
    meeting = {
        "PET_NNODES": count,
        "PET_NPROC_PER_NODE": 1,
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": free_port(),
    }
    nodes = [start(line, PET_NODE_RANK=rank, **meeting) for rank in range(count)]
    said = [node.communicate(timeout=100)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert "2 processes with batches of 2" in said[0]
    assert (tmp_path / "openmoji" / "latest" / "ema.safetensors").exists()


@pytest.mark.slow
def test_a_job_that_is_told_to_end_saves_and_its_successor_finishes(
    manifests: Manifests, start: Start, pairs: Path, tmp_path: Path
) -> None:
    run, command = tmp_path / "openmoji", manifests.command("job")
    first = start(localised(command, pairs, tmp_path, 0, **{"n-epochs": 10_000}))
    until_saved(run, first)
    first.terminate()
    assert "resume with" in first.communicate(timeout=100)[0]
    assert first.returncode == 128 + signal.SIGTERM
    step = last_step(run)
    line = localised(command, pairs, tmp_path, 0, **{"n-epochs": 10_000, "max-steps": step + 3})
    successor = start(line)
    said = successor.communicate(timeout=100)[0]
    assert successor.returncode == 0
    assert f"going on from step {step}" in said
    again = start(line)
    assert f"finished already, after {step + 3} steps" in again.communicate(timeout=100)[0]
    assert again.returncode == 0


@dataclass(frozen=True)
class Bucket:
    """Where runs are kept, and what synchronises a node with it."""

    folder: Path  # of a store that, as a bucket, knows no links
    start: Start
    remote: dict[str, object]

    def synchronise(self, verb: str, run: Path, **environment: object) -> subprocess.Popen[str]:
        return self.start(["sh", str(SYNCHRONISE), verb], RUN=run, **self.remote, **environment)

    def fetch(self, run: Path, **environment: object) -> None:
        process = self.synchronise("fetch", run, **environment)
        assert process.wait(timeout=60) == 0, process.communicate()[0]


@pytest.fixture
def bucket(start: Start, tmp_path: Path) -> Bucket:
    if shutil.which("rclone") is None:
        pytest.skip("rclone is not installed: make chart")
    folder, address = tmp_path / "bucket", f"127.0.0.1:{free_port()}"
    folder.mkdir()
    start(["rclone", "serve", "webdav", f"--addr={address}", str(folder)])
    until_listens(address)
    remote = {"BUCKET": "bucket:runs/openmoji", "EVERY": 300, "RCLONE_CONFIG": tmp_path / "none"}
    remote |= {"RCLONE_CONFIG_BUCKET_TYPE": "webdav", "RCLONE_CONFIG_BUCKET_URL": f"http://{address}"}
    return Bucket(folder / "runs" / "openmoji", start, remote)


def test_a_bucket_gets_whole_checkpoints_and_gives_them_back(bucket: Bucket, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    bucket.fetch(run)
    checkpoint(run, "step-00000001")
    (run / ".step-00000002.partial").mkdir()
    (run / ".step-00000002.partial" / "config.json").write_text("{")
    upload = bucket.synchronise("upload", run)
    while not (bucket.folder / "latest.rclonelink").exists():
        assert upload.poll() is None, upload.communicate()[0]
        time.sleep(0.05)
    checkpoint(run, "step-00000003")
    shutil.rmtree(run / "step-00000001")
    upload.terminate()  # as the kubelet does when the training has ended
    assert upload.wait(timeout=60) == 0
    bucket.fetch(elsewhere)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["latest", "step-00000003"]
    assert (elsewhere / "latest").readlink() == Path("step-00000003")
    assert (elsewhere / "latest" / "config.json").read_text() == "{}"


def test_nodes_other_than_the_first_leave_the_bucket_alone(bucket: Bucket, tmp_path: Path) -> None:
    checkpoint(bucket.folder, "step-00000001")
    (bucket.folder / "latest").unlink()
    (bucket.folder / "latest.rclonelink").write_text("step-00000001")
    first, second = tmp_path / "first", tmp_path / "second"
    bucket.fetch(second, JOB_COMPLETION_INDEX=1)
    bucket.fetch(first, JOB_COMPLETION_INDEX=0)
    assert (first / "latest" / "config.json").exists()
    assert not second.exists()
    checkpoint(first, "step-00000002")
    shutil.rmtree(first / "step-00000001")
    for index, run in enumerate((first, second)):
        upload = bucket.synchronise("upload", run, JOB_COMPLETION_INDEX=index)
        while not psutil.Process(upload.pid).children():
            time.sleep(0.05)
        upload.terminate()
        assert upload.wait(timeout=60) == 0
    assert [path.name for path in bucket.folder.glob("step-*")] == ["step-00000002"]


def test_upload_tries_until_the_last_checkpoint_is_in_the_bucket(start: Start, tmp_path: Path) -> None:
    """The bucket cannot be had when the training ends, and comes back a little later."""
    tools, away, run = tmp_path / "bin", tmp_path / "away", tmp_path / "run"
    tools.mkdir()
    away.touch()
    script = f'[ ! -e "{away}" ] || exit 1\necho "$@" >> "{tmp_path}/asked"\ncat > /dev/null\n'
    (tools / "rclone").write_text(f"#!/bin/sh\n{script}")
    (tools / "rclone").chmod(0o755)
    (tools / "sleep").write_text(f'#!/bin/sh\n[ "$1" = 1 ] || rm -f "{away}"\n')  # the wait after a try that failed
    (tools / "sleep").chmod(0o755)
    checkpoint(run, "step-00000001")
    path = f"{tools}:{os.environ['PATH']}"
    upload = start(["sh", str(SYNCHRONISE), "upload"], RUN=run, BUCKET="b:r", EVERY=1000000, PATH=path)
    assert upload.stdout is not None
    while "trying again in" not in upload.stdout.readline():
        assert upload.poll() is None
    upload.terminate()
    assert upload.wait(timeout=60) == 0
    assert "copy" in (tmp_path / "asked").read_text()


def until_listens(address: str) -> None:
    host, port = address.split(":")
    while True:
        with socket.socket() as caller:
            if caller.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)


def checkpoint(run: Path, name: str) -> None:
    (run / name).mkdir(parents=True)
    (run / name / "config.json").write_text("{}")
    (run / "latest").unlink(missing_ok=True)
    (run / "latest").symlink_to(name)
