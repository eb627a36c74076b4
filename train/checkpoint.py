"""Checkpoints: directories that are whole or not there.

    RUN/step-00001200/config.json                everything needed to rebuild the networks and the data transform
                      generator.safetensors      weights and running statistics
                      discriminator.safetensors
                      ema.safetensors            the averaged generator, unless it is off
                      metrics.json               validation figures and their history
                      grid.png, examples/*.png   held-out pairs: input, output, target; inputs alone
                      training_state.pt          optimisers and random states; only resume reads it
    RUN/latest → step-00001200

A checkpoint is written under a temporary name and renamed; `latest` moves only then.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from train.errors import TrainError
from train.state import discriminator_config, generator_config, reseed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import nn

    from train.settings import TrainSettings
    from train.state import State

FORMAT = "lapis-checkpoint/1"
LATEST = "latest"
STATE = "training_state.pt"
RANDOM = ("rng", "rng_cuda")
RandomState = dict[str, torch.Tensor]


def save_checkpoint(
    run: Path,
    state: State,
    settings: TrainSettings,
    *,
    data: dict[str, Any],
    metrics: dict[str, Any],
    write_pictures: Callable[[Path], None],
    random_states: list[RandomState] | None = None,
) -> Path:
    """Writes a checkpoint of `state` into the run, points `latest` at it and removes all but the last `keep`.

    `random_states` are those of all processes that train, in order of their ranks; None: this one is alone. Raises
    TrainError where it cannot be written; what was there before is untouched then.
    """
    final = run / f"step-{state.step:08d}"
    temporary = run / f".{final.name}.partial"
    try:
        for left in run.glob(".step-*.partial"):  # by a process that was killed as it wrote
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write(temporary, state, random_states or [random_state(state)])
        for name, content in (("config.json", _config(state, settings, data)), ("metrics.json", metrics)):
            (temporary / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        write_pictures(temporary)
        if final.exists():  # the same step again, after a resume
            shutil.rmtree(final)
        temporary.rename(final)
        _point_latest_at(final)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TrainError(f"{final}: checkpoint cannot be written ({error.strerror})") from error
    for old in sorted(run.glob("step-*"))[: -settings.keep]:
        shutil.rmtree(old)
    return final


def find_checkpoint(place: Path) -> Path:
    """Returns the checkpoint that a run or checkpoint folder stands for. Raises TrainError where there is none."""
    newest = sorted(place.glob("step-*"))[-1:]  # whole, though a crash or a copy may have cost the link to it
    for candidate in (place, place / LATEST, *newest):
        if (candidate / "config.json").is_file():
            return candidate.resolve()
    raise TrainError(f"{place}: no checkpoint here (config.json is missing)")


def read_settings(checkpoint: Path) -> dict[str, Any]:
    """Returns the settings that a checkpoint was trained with. Raises TrainError where they cannot be read."""
    config = _read_json(checkpoint / "config.json")
    if config.get("format") != FORMAT or not isinstance(config.get("training"), dict):
        raise TrainError(f"{checkpoint / 'config.json'}: not a checkpoint of the format {FORMAT}")
    settings: dict[str, Any] = config["training"]
    return settings


def read_metrics(checkpoint: Path) -> dict[str, Any]:
    """Returns what metrics.json holds. Raises TrainError where it cannot be read."""
    return _read_json(checkpoint / "metrics.json")


def random_state(state: State) -> RandomState:
    """Returns what this process's random numbers go on from."""
    states = {"rng": torch.get_rng_state()}
    if state.device.type == "cuda":
        states["rng_cuda"] = torch.cuda.get_rng_state()
    return states


def restore(state: State, checkpoint: Path, settings: TrainSettings) -> None:
    """Takes a new state to where a checkpoint was: to the bit where as many processes go on as wrote it.

    The main process alone reads, and the others get what it read: where they run there need be no checkpoint. Where
    there are more or fewer than wrote it, the epoch goes on at the last step that does not skip a pair, and new
    processes begin with random numbers of their own. Raises TrainError for a file that is missing or damaged, or
    networks of another architecture.
    """
    saved = state.world.from_main(partial(_read, checkpoint, state))
    for network in (state.generator, state.discriminator, state.ema):
        if network is not None:
            state.world.share(network)
    state.world.together(partial(_go_on_with, saved, checkpoint, settings, state))


def _read(checkpoint: Path, state: State) -> dict[str, Any]:
    """Reads the weights into the networks, and returns what else was saved."""
    _load_weights(state.generator, checkpoint / "generator.safetensors")
    _load_weights(state.discriminator, checkpoint / "discriminator.safetensors")
    if state.ema is not None:
        averaged = checkpoint / "ema.safetensors"
        _load_weights(state.ema, averaged if averaged.exists() else checkpoint / "generator.safetensors")
    with _whole(checkpoint / STATE):
        saved: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    return saved


def _go_on_with(saved: dict[str, Any], checkpoint: Path, settings: TrainSettings, state: State) -> None:
    """Takes up the optimisers, random numbers and the place in the epoch where those who saved left them."""
    world = state.world
    with _whole(checkpoint / STATE):
        state.optimizer_G.load_state_dict(saved["optimizer_G"])
        state.optimizer_D.load_state_dict(saved["optimizer_D"])
        state.step, state.epoch, state.seconds = saved["step"], saved["epoch"], saved["seconds"]
        random_states = [{name: saved[name] for name in RANDOM if name in saved}, *saved.get("others", [])]
        state.begun_with = len(random_states)
        # A batch is one of every process.
        state.batch = saved["batch"] * len(random_states) // world.size
        if world.rank >= len(random_states):
            reseed(settings.seed, world.rank, state.step)
            return
        mine = random_states[world.rank]
        torch.set_rng_state(mine["rng"])
        if state.device.type == "cuda" and "rng_cuda" in mine:
            torch.cuda.set_rng_state(mine["rng_cuda"])


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Raises TrainError in place of the many kinds of errors that torch and pickle raise for a damaged file."""
    try:
        yield
    except Exception as error:
        raise TrainError(f"{path}: missing or damaged ({_first_line(error)}); resume needs it whole") from error


def _write(folder: Path, state: State, random_states: list[RandomState]) -> None:
    networks = {"generator": state.generator, "discriminator": state.discriminator, "ema": state.ema}
    for name, network in networks.items():
        if network is not None:
            # Contiguous, whatever the memory format: the file is read by others.
            tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
            save_file(tensors, folder / f"{name}.safetensors")
            (folder / f"{name}.safetensors").chmod(0o644)  # others may export it; the library keeps it to its owner
    saved = {
        "optimizer_G": state.optimizer_G.state_dict(),
        "optimizer_D": state.optimizer_D.state_dict(),
        "step": state.step,
        "epoch": state.epoch,
        "batch": state.batch,
        "seconds": state.seconds,
        **random_states[0],
        "others": random_states[1:],
    }
    torch.save(saved, folder / STATE)


def _config(state: State, settings: TrainSettings, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "step": state.step,
        "epoch": state.epoch,
        "processes": state.world.size,
        "generator": asdict(generator_config(settings)),
        "discriminator": asdict(discriminator_config(settings)),
        "data": data,
        "training": settings.model_dump(mode="json", exclude={"config", "resume"}),
    }


def _point_latest_at(checkpoint: Path) -> None:
    link = checkpoint.with_name(f".{LATEST}.partial")
    link.unlink(missing_ok=True)
    link.symlink_to(checkpoint.name)
    link.replace(checkpoint.with_name(LATEST))


def _load_weights(network: nn.Module, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainError(f"{path}: missing or damaged ({_first_line(error)})") from error
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise TrainError(f"{path}: holds another architecture ({_first_line(error)})") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainError(f"{path}: missing or damaged ({_first_line(error)})") from error
    if not isinstance(content, dict):
        raise TrainError(f"{path}: must hold a JSON object")
    return content


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__
