from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.__main__ import command
from train.checkpoint import find_checkpoint
from train.data.pictures import read_picture, write_png
from train.errors import TrainError
from train.loop import train
from train.precision import autocast_dtype
from train.prepare import prepare
from train.settings import TrainSettings
from train.state import learning_rate, new_state
from train.step import train_step

Small = Callable[..., dict[str, Any]]
WEIGHTS = ("generator", "discriminator", "ema")


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = find_checkpoint(run)
    return {f"{name}.{key}": t for name in WEIGHTS for key, t in load_file(checkpoint / f"{name}.safetensors").items()}


def flags(settings: dict[str, Any]) -> list[str]:
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in settings.items() if name != "data"]
    return [str(settings["data"]), *(part for pair in pairs for part in pair)]


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16", "batch_size": 2, "norm": "instance", "gan_mode": "lsgan"}]
)
def test_stopping_and_resuming_changes_not_a_bit(small: Small, tmp_path: Path, changes: dict[str, Any]) -> None:
    assert command(TrainSettings(**small(output=tmp_path / "whole", max_steps=4, **changes))) == 0
    assert command(TrainSettings(**small(output=tmp_path / "halves", max_steps=2, **changes))) == 0
    # A clean generator of random numbers shows that the checkpoint brings its own.
    torch.manual_seed(99)
    assert command(TrainSettings(resume=tmp_path / "halves", max_steps=4)) == 0
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    assert [key for key in whole if not torch.equal(whole[key], halves[key])] == []


def test_another_seed_is_another_run(small: Small, tmp_path: Path) -> None:
    for seed in (0, 1):
        command(TrainSettings(**small(output=tmp_path / str(seed), max_steps=1, seed=seed)))
    first, second = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert not torch.equal(first["generator.down1.conv.weight"], second["generator.down1.conv.weight"])


def test_training_brings_the_picture_nearer_to_its_target(small: Small, tmp_path: Path) -> None:
    settings = TrainSettings(**small(ngf=8, ndf=8, batch_size=2, n_epochs=25, n_epochs_decay=5, save_every=5, lr=1e-3))
    assert command(settings) == 0
    metrics = json.loads((find_checkpoint(tmp_path / "run") / "metrics.json").read_text())
    history = [entry["l1"] for entry in metrics["history"]]
    assert len(history) == 6
    assert history[-1] < history[0] / 2
    assert metrics["validation"]["pairs"] == metrics["baseline"]["pairs"] == 2


def test_a_checkpoint_says_what_it_takes_to_rebuild_it(small: Small, tmp_path: Path) -> None:
    command(TrainSettings(**small(max_steps=1)))
    checkpoint = find_checkpoint(tmp_path / "run")
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["format"] == "lapis-checkpoint/1"
    assert config["generator"] == {
        "netG": "unet_128", "input_nc": 3, "output_nc": 3, "ngf": 4, "norm": "batch", "use_dropout": True,
        "all_biases": False, "innermost_norm": False, "innermost_dropout": True, "norm_affine": False,
        "n_downsample_global": 4, "n_blocks_global": 9,
    }  # fmt: skip
    assert (config["data"]["train_pairs"], config["data"]["validation_pairs"]) == (6, 2)
    assert config["training"]["lambda_L1"] == 100
    assert {path.name for path in checkpoint.iterdir()} == {
        "config.json", "metrics.json", "grid.png", "examples", "training_state.pt",
        "generator.safetensors", "discriminator.safetensors", "ema.safetensors",
    }  # fmt: skip
    assert sorted(path.name for path in (checkpoint / "examples").iterdir()) == ["0.png", "1.png"]
    assert all(path.stat().st_mode & 0o004 for path in checkpoint.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"netG": "resnet_6blocks", "precision": "bf16"},
        {"netG": "global", "norm": "instance", "n_downsample_global": 3, "n_blocks_global": 1},
    ],
    ids=lambda changes: changes["netG"],
)
def test_residual_generators_are_trained_and_resumed(small: Small, tmp_path: Path, changes: dict[str, Any]) -> None:
    size = {"load_size": 72, "crop_size": 64}
    assert command(TrainSettings(**small(max_steps=1, **size, **changes))) == 0
    drops = changes["netG"] != "global"  # as in the references
    with pytest.raises(TrainError, match=f"--dropout {not drops}: the run was begun with {drops}"):
        prepare(TrainSettings(resume=tmp_path / "run", dropout=not drops))
    assert command(TrainSettings(resume=tmp_path / "run", max_steps=2, dropout=drops)) == 0
    config = json.loads((find_checkpoint(tmp_path / "run") / "config.json").read_text())
    assert config["generator"]["netG"] == changes["netG"]
    assert config["generator"]["use_dropout"] == drops


def test_a_crop_that_the_generator_cannot_take_is_refused(small: Small) -> None:
    for size, expected in ((102, "multiples of 4 pixels from 8"), (4, "from 8")):
        with pytest.raises(TrainError, match=expected):
            prepare(TrainSettings(**small(netG="resnet_6blocks", load_size=size, crop_size=size)))


def test_a_failed_save_leaves_the_old_checkpoint_and_no_rubbish(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepare(TrainSettings(**small(max_steps=2)))
    train(run)
    before = weights(tmp_path / "run")

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.checkpoint.torch.save", disk_full)
    with pytest.raises(TrainError, match="No space left"):
        command(TrainSettings(resume=tmp_path / "run", max_steps=3))
    assert [path.name for path in (tmp_path / "run").glob("*step-*")] == ["step-00000002"]
    assert all(torch.equal(value, before[key]) for key, value in weights(tmp_path / "run").items())


def test_tensorboard_gets_losses_figures_and_grids(small: Small, tmp_path: Path) -> None:
    command(TrainSettings(**small(max_steps=4, print_every=2)))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"loss/G_L1", "loss/G_GAN", "loss/D_real", "loss/D_fake", "validation/ssim"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss/G_L1")] == [2, 4]
    assert events.Tags()["images"] == ["input, output, target"]


@pytest.mark.parametrize(("flags", "dtype"), [("fma avx512_bf16", torch.bfloat16), ("fma avx2", None)])
def test_bf16_is_the_default_only_where_the_cpu_computes_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, dtype: torch.dtype | None
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor: 0\nflags: {flags}\n")
    monkeypatch.setattr("train.precision.CPUINFO", tmp_path / "cpuinfo")
    assert autocast_dtype("auto", torch.device("cpu")) == dtype
    assert autocast_dtype("fp32", torch.device("cpu")) is None


def test_only_the_last_checkpoints_are_kept(small: Small, tmp_path: Path) -> None:
    command(TrainSettings(**small(batch_size=6, n_epochs=3, n_epochs_decay=0, keep=2)))
    assert sorted(path.name for path in (tmp_path / "run").glob("step-*")) == ["step-00000002", "step-00000003"]
    assert (tmp_path / "run" / "latest").resolve().name == "step-00000003"


def test_a_loss_that_is_no_number_names_the_step_and_the_last_good_checkpoint(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(TrainSettings(**small(max_steps=2)))
    checkpoint = find_checkpoint(tmp_path / "run")
    path = checkpoint / "discriminator.safetensors"
    save_file({key: value * float("nan") for key, value in load_file(path).items()}, path)
    assert command(TrainSettings(resume=tmp_path / "run", max_steps=4)) == 1
    said = capsys.readouterr().err
    assert "step 3" in said
    assert str(checkpoint) in said
    assert find_checkpoint(tmp_path / "run") == checkpoint


def test_ctrl_c_saves_and_says_how_to_resume(small: Small, tmp_path: Path) -> None:
    settings = small(n_epochs=1000, n_epochs_decay=0, print_every=1, save_every=1000)
    process = subprocess.Popen(
        [sys.executable, "-m", "train", *flags(settings)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "step 3/" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert f"lapis-train --resume {tmp_path / 'run'}" in out
    assert "Traceback" not in err
    saved = json.loads((find_checkpoint(tmp_path / "run") / "config.json").read_text())
    assert saved["step"] >= 3


def test_nothing_stays_of_a_training_that_was_killed(small: Small) -> None:
    settings = small(n_epochs=1000, n_epochs_decay=0, print_every=1, save_every=1000, num_workers=2)
    with subprocess.Popen(
        [sys.executable, "-m", "train", *flags(settings)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "step 3/" in line:
                break
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.stdout.read()  # ends when nobody holds the other side
    assert len(started) > 2
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []


# Python runs this in every process before anything of ours; it acts where one is forked, as workers are.
TOLD_WHILE_A_WORKER_STARTS = """
import os

def told():
    if not os.path.exists({once!r}):
        open({once!r}, "x").close()
        os.killpg(0, {signal})

os.register_at_fork(after_in_child=told)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_finds_no_worker_that_has_just_started(
    small: Small, tmp_path: Path, number: signal.Signals
) -> None:
    once = tmp_path / "told"
    script = TOLD_WHILE_A_WORKER_STARTS.format(once=str(once), signal=int(number))
    (tmp_path / "sitecustomize.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-m", "train", *flags(small(num_workers=2))], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        start_new_session=True, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert once.exists()
    assert done.returncode == 128 + number, done.stderr
    assert done.stdout.count(f"{number.name}: finishing this step") == 1
    assert f"lapis-train --resume {tmp_path / 'run'}" in done.stdout
    assert "Traceback" not in done.stderr
    assert find_checkpoint(tmp_path / "run").name == "step-00000001"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ngf": 8}, "--ngf 8: the run was begun with 4"),
        ({"netG": "unet_256", "crop_size": 256, "load_size": 256}, "--netG unet_256: the run was begun with unet_128"),
    ],
)
def test_a_resumed_run_keeps_its_architecture(small: Small, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    command(TrainSettings(**small(max_steps=1)))
    with pytest.raises(TrainError, match=said):
        command(TrainSettings(resume=tmp_path / "run", **changes))


@pytest.mark.parametrize(
    "name", ["config.json", "metrics.json", "generator.safetensors", "ema.safetensors", "training_state.pt"]
)
def test_a_half_written_checkpoint_is_refused_by_file(small: Small, tmp_path: Path, name: str) -> None:
    command(TrainSettings(**small(max_steps=1)))
    path = find_checkpoint(tmp_path / "run") / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainError, match=name):
        command(TrainSettings(resume=tmp_path / "run"))


def test_weights_of_another_architecture_are_refused(small: Small, tmp_path: Path) -> None:
    for name, ngf in (("run", 4), ("other", 8)):
        command(TrainSettings(**small(output=tmp_path / name, ngf=ngf, max_steps=1)))
    (find_checkpoint(tmp_path / "other") / "generator.safetensors").replace(
        find_checkpoint(tmp_path / "run") / "generator.safetensors"
    )
    with pytest.raises(TrainError, match="another architecture"):
        command(TrainSettings(resume=tmp_path / "run"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--resume"),
        (["{missing}", "--output", "{out}"], "no such folder"),
        (["{data}"], "--output"),
        (["{data}", "--output", "/proc/run"], "/proc/run: cannot be written"),
        (["{data}", "--output", "{out}", "--crop-size", "100"], "multiples of 256"),
        (["{data}", "--output", "{out}", "--crop-size", "512"], "--load-size 286 is smaller than --crop-size 512"),
        (["{data}", "--output", "{out}", "--netH", "unet"], "--netH"),
        (["{data}", "--output", "{out}", "--ngf", "0"], "--ngf"),
        (["--resume", "{missing}"], "no checkpoint here"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    side_by_side: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    places = {"data": side_by_side, "missing": tmp_path / "missing", "out": tmp_path / "run"}
    filled = [argument.format_map(places) for argument in arguments]
    done = subprocess.run([sys.executable, "-m", "train", *filled], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_finished_run_says_how_to_go_on(small: Small, tmp_path: Path) -> None:
    command(TrainSettings(**small(max_steps=1)))
    with pytest.raises(TrainError, match=r"finished after 1 steps.*--max-steps"):
        command(TrainSettings(resume=tmp_path / "run"))


def test_a_run_is_not_trained_over(small: Small) -> None:
    command(TrainSettings(**small(max_steps=1)))
    with pytest.raises(TrainError, match="holds a run already"):
        command(TrainSettings(**small(max_steps=1)))


def test_settings_come_from_flags_environment_and_file_in_that_order(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("ngf: 8\nndf: 16\nbatch-size: 2\n")
    program = "from lapis.command import read; from train.settings import TrainSettings as T; s = read('t', T); "
    program += "print(s.ngf, s.ndf, s.batch_size)"
    done = subprocess.run(
        [sys.executable, "-c", program, "data", "--config", str(tmp_path / "train.yaml"), "--ngf", "32"],
        env=os.environ | {"LAPIS_TRAIN_NGF": "16", "LAPIS_TRAIN_NDF": "8"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["32", "8", "2"]


def test_the_learning_rate_is_flat_and_then_falls_to_nothing() -> None:
    settings = TrainSettings(lr=1.0, n_epochs=2, n_epochs_decay=3)
    assert [learning_rate(settings, epoch) for epoch in range(6)] == [1, 1, 0.75, 0.5, 0.25, 0]


def test_a_step_teaches_the_discriminator_to_tell_and_the_generator_to_match(small: Small) -> None:
    torch.manual_seed(0)
    settings = TrainSettings(**small(batch_size=2))
    state = new_state(settings)
    real_A, real_B = torch.rand(2, 3, 128, 128) * 2 - 1, torch.full((2, 3, 128, 128), 0.5)
    losses = [train_step(state, real_A, real_B, gan_mode="vanilla", lambda_L1=100.0) for _ in range(12)]
    assert losses[-1].G_L1 < losses[0].G_L1
    assert losses[-1].D_real + losses[-1].D_fake < losses[0].D_real + losses[0].D_fake
    assert all(parameter.grad is not None for parameter in state.generator.parameters())


def test_pictures_of_sixteen_bits_leave_their_mark_on_the_checkpoint(
    side_by_side: Path, small: Small, tmp_path: Path
) -> None:
    for file in side_by_side.rglob("*.png"):
        write_png(file, read_picture(file, 3).astype(np.uint16) * 256)
    command(TrainSettings(**small(max_steps=1)))
    checkpoint = find_checkpoint(tmp_path / "run")
    assert json.loads((checkpoint / "config.json").read_text())["data"]["bits"] == 16
    example = read_picture(checkpoint / "examples" / "0.png", 3)
    assert example.dtype == np.uint16
    assert example.max() == 255 * 256
