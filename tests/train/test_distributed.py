from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from train.checkpoint import find_checkpoint
from train.data.dataset import PairSampler
from train.errors import TrainError
from train.loop import train
from train.prepare import announcement, prepare
from train.settings import TrainSettings
from train.world import World, joined

Small = Callable[..., dict[str, Any]]
WEIGHTS = ("generator", "discriminator", "ema")
LEARN = Path(__file__).parent / "learn_together.py"


def torchrun(*arguments: str | Path, processes: int = 2, restarts: int = 0) -> list[str]:
    """A command line of torchrun, which starts every process with one thread."""
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *map(str, arguments)]


def train_command(settings: dict[str, Any]) -> list[str]:
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in settings.items() if name != "data"]
    return [
        "-m",
        "train",
        *([str(settings["data"])] if "data" in settings else []),
        *(p for pair in pairs for p in pair),
    ]


def run(command: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | changes
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def trained(settings: dict[str, Any], processes: int = 2) -> subprocess.CompletedProcess[str]:
    done = run(torchrun(*train_command(settings), processes=processes))
    assert done.returncode == 0, done.stderr
    return done


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": t for name in WEIGHTS for key, t in load_file(checkpoint / f"{name}.safetensors").items()}


def learnt(
    folder: Path, steps: int, settings: dict[str, Any], processes: int, *checkpoint: Path
) -> list[dict[str, Any]]:
    """What each of so many processes holds after some steps, from the checkpoint on if one is given."""
    folder.mkdir()
    arguments = (LEARN, folder, str(steps), json.dumps(settings, default=str), *checkpoint)
    done = run(torchrun(*arguments, processes=processes) if processes > 1 else [sys.executable, *map(str, arguments)])
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(processes)]


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "steps"), [("none", 3), ("instance", 1)])
def test_two_processes_learn_what_one_learns_of_batches_twice_as_large(
    small: Small, tmp_path: Path, norm: str, steps: int
) -> None:
    settings = small(norm=norm, dropout=False, ngf=8, ndf=8)
    (alone,) = learnt(tmp_path / "alone", steps, settings | {"batch_size": 2}, 1)
    first, second = learnt(tmp_path / "both", steps, settings | {"batch_size": 1}, 2)
    for network in "GD":
        gradients = {key: value for key, value in alone["gradients"].items() if key.startswith(network)}
        # To rounding at first; Adam then makes steps of what rounding leaves where a gradient is next to nothing.
        tolerance = (1e-5 if steps == 1 else 1e-3) * max(float(value.abs().max()) for value in gradients.values())
        for key, value in gradients.items():
            assert torch.equal(first["gradients"][key], second["gradients"][key]), key
            assert torch.allclose(first["gradients"][key], value, rtol=0, atol=tolerance), key
    assert torch.allclose(first["losses"], alone["losses"], rtol=1e-3)
    assert first["figures"]["validation"] == pytest.approx(alone["figures"]["validation"], rel=1e-3)
    assert first["figures"]["baseline"] == pytest.approx(alone["figures"]["baseline"], rel=1e-6)


def test_processes_draw_their_own_dropout_and_agree_on_every_held_out_pair(small: Small, tmp_path: Path) -> None:
    three = learnt(tmp_path / "three", 1, small(batch_size=2), 3)  # one of them has no held-out pair to measure
    assert len({float(held["dropout"]) for held in three}) == 3
    assert three[0]["figures"] == three[1]["figures"] == three[2]["figures"]
    assert three[0]["figures"]["validation"]["pairs"] == 2


@pytest.mark.slow
def test_stopping_and_resuming_two_processes_changes_not_a_bit(small: Small, tmp_path: Path) -> None:
    trained(small(output=tmp_path / "whole", max_steps=4))
    trained(small(output=tmp_path / "halves", max_steps=2))
    trained({"resume": tmp_path / "halves", "max_steps": 4})
    whole, halves = weights(find_checkpoint(tmp_path / "whole")), weights(find_checkpoint(tmp_path / "halves"))
    assert [key for key in whole if not torch.equal(whole[key], halves[key])] == []


@pytest.mark.slow
def test_a_process_that_sees_no_checkpoint_goes_on_from_the_main_one_s(small: Small, tmp_path: Path) -> None:
    trained(small(output=tmp_path / "whole", max_steps=3))
    trained(small(output=tmp_path / "part", max_steps=2))
    both = learnt(tmp_path / "both", 1, small(), 2, find_checkpoint(tmp_path / "part"))
    assert [held["step"] for held in both] == [3, 3]
    saved = load_file(find_checkpoint(tmp_path / "whole") / "generator.safetensors")
    # What a batch norm gathers is of each process alone.
    learning = [key for key in saved if "running" not in key]
    for held in both:
        assert [key for key in learning if not torch.equal(held["generator"][key], saved[key])] == []


@pytest.mark.slow
def test_main_process_alone_writes_and_speaks_and_one_goes_on_with_the_run_of_two(small: Small, tmp_path: Path) -> None:
    done = trained(small(print_every=1, max_steps=2))
    assert "2 processes with batches of 1: 2 pairs a step at --lr 0.0002" in done.stdout
    told = [line.split("  ")[1] for line in done.stdout.splitlines() if "G_L1" in line]
    assert told == ["step 1/2", "step 2/2"]
    assert done.stdout.count("saved") == 1
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
    checkpoint = find_checkpoint(tmp_path / "run")
    assert json.loads((checkpoint / "config.json").read_text())["processes"] == 2
    resumed = prepare(TrainSettings(resume=tmp_path / "run", max_steps=4))
    assert (resumed.state.step, resumed.state.batch) == (2, 4)  # two pairs in each step, and from here on one
    assert "the checkpoint is of 2 processes: steps now see 1 pairs" in announcement(resumed)


@pytest.mark.parametrize(("flags", "said"), [([], "no such folder"), (["--sync-batchnorm"], "between GPUs only")])
def test_what_all_processes_get_wrong_is_said_once(small: Small, flags: list[str], said: str) -> None:
    data = {} if flags else {"data": "/nowhere"}
    done = run(torchrun(*train_command(small(**data)), *flags))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("lapis-train: error:")]
    assert len(errors) == 1
    assert said in errors[0]


class Killed(Exception):
    """The run ended before it could be killed."""


def worker(launcher: int, rank: int) -> psutil.Process:
    """The process of that rank under a launcher."""
    for process in psutil.Process(launcher).children():
        if process.environ().get("RANK") == str(rank):
            return process
    raise Killed


def until_saved(process: subprocess.Popen[str], run_folder: Path) -> None:
    while not (run_folder / "latest").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


@pytest.fixture
def launched(small: Small, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def launch(*, restarts: int) -> subprocess.Popen[str]:
        settings = small(resume="auto", n_epochs=15, n_epochs_decay=0, num_workers=1)
        command = torchrun(*train_command(settings), restarts=restarts)
        process = subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        until_saved(process, tmp_path / "run")
        return process

    yield launch
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_ended_is_started_again_and_the_run_goes_on(
    launched: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    process = launched(restarts=1)
    worker(process.pid, 1).send_signal(number)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "going on from step" in out
    assert f"done: {tmp_path / 'run' / 'step-00000045'}" in out
    if number == signal.SIGKILL:
        assert err.count("lapis-train: error: another process is gone") == 1
    else:
        assert f"saved {tmp_path / 'run'}" in out
    history = json.loads((tmp_path / "run" / "latest" / "metrics.json").read_text())["history"]
    assert all(before["step"] < after["step"] for before, after in pairwise(history))


@pytest.mark.slow
def test_sigterm_to_torchrun_saves_and_the_same_command_goes_on_and_then_leaves_the_run_alone(
    launched: Callable[..., subprocess.Popen[str]], small: Small, tmp_path: Path
) -> None:
    process = launched(restarts=0)
    process.terminate()
    out, err = process.communicate(timeout=100)
    assert "resume with" in out, err
    saved = find_checkpoint(tmp_path / "run")
    step = int(saved.name.removeprefix("step-"))
    if step % 3:  # in haste: what was measured last is of other weights
        assert "validation" not in json.loads((saved / "metrics.json").read_text())
    same = small(resume="auto", n_epochs=15, n_epochs_decay=0, num_workers=1, max_steps=step + 2)
    assert f"going on from step {step}" in trained(same).stdout
    assert f"finished already, after {step + 2} steps" in trained(same).stdout


@pytest.mark.parametrize(("length", "size", "batch"), [(12, 3, 2), (10, 4, 1), (7, 2, 3), (2, 5, 1)])
def test_processes_share_an_epoch_evenly_and_see_the_batches_of_one(length: int, size: int, batch: int) -> None:
    alone = [index for _, index in PairSampler(length, seed=3, epoch=5)]
    shares = [list(PairSampler(length, seed=3, epoch=5, world=World(rank, size))) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    seen = sorted(index for share in shares for _, index in share)
    assert set(seen) == set(range(length))
    assert len(seen) - length < size
    together = {index for share in shares for _, index in share[:batch]}
    assert together == set(alone[: batch * size])
    rest = [list(PairSampler(length, seed=3, epoch=5, skip=size, world=World(rank, size))) for rank in range(size)]
    assert rest == [share[1:] for share in shares]


@pytest.mark.parametrize("environment", [{"WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "one"}])
def test_an_environment_that_is_not_torchrun_s_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainError, match="not as torchrun sets them"), joined("cpu"):
        pass


def test_resume_auto_needs_to_know_where(small: Small) -> None:
    with pytest.raises(ValueError, match="--resume auto needs --output"):
        TrainSettings(resume="auto", data=small()["data"])


def test_resume_auto_takes_the_newest_checkpoint_where_the_link_to_it_is_lost(small: Small, tmp_path: Path) -> None:
    train(prepare(TrainSettings(**small(resume="auto", max_steps=2))))
    (tmp_path / "run" / "latest").unlink()
    resumed = prepare(TrainSettings(**small(resume="auto", max_steps=3)))
    assert resumed.state.step == 2
    train(resumed)
    assert find_checkpoint(tmp_path / "run").name == "step-00000003"
