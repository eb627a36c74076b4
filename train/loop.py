"""The run: epochs of steps, with a checkpoint, validation and a grid every so often.

Several processes that train together all run this loop; what they do alone is what stands under `if report`, and in
`World.from_main`.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from train.checkpoint import RandomState, random_state, save_checkpoint
from train.data.dataset import PairDataset, epoch_batches
from train.data.pictures import write_png
from train.errors import Diverged, PairsError
from train.grids import grid, write_examples
from train.report import Report
from train.state import State, learning_rate
from train.step import Losses, train_step
from train.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from train.settings import TrainSettings


@dataclass
class Run:
    """One training run: what it learns from, where it writes, how far it has come.

    `signalled` is the signal that this process got; `interrupted`: one of all processes got one, and `hurried`: one
    that means that there is little time.
    """

    settings: TrainSettings
    folder: Path
    state: State
    training: PairDataset
    held_out: PairDataset | None
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    signalled: signal.Signals | None = None
    interrupted: bool = False
    hurried: bool = False

    @property
    def step_pairs(self) -> int:
        """Pairs that a step learns from, in all processes together."""
        return self.settings.batch_size * self.state.world.size

    @property
    def batches(self) -> int:
        """Steps in an epoch."""
        return ceil(len(self.training) / self.step_pairs)

    @property
    def total_steps(self) -> int:
        """Steps in the whole run: those that are done and those of the epochs that are left."""
        state = self.state
        steps = state.step + max(0, (self.settings.epochs - state.epoch) * self.batches - state.batch)
        return min(steps, self.settings.max_steps or steps)

    @property
    def finished(self) -> bool:
        """Tells whether no step is left."""
        return self.state.step >= self.total_steps


def train(run: Run) -> None:
    """Trains until the run is finished or interrupted; either way the last step is in a checkpoint.

    Raises Diverged where a loss is no longer a number, naming the step and the last good checkpoint.
    """
    with _interruptible(run), Report(run) if run.state.world.main else nullcontext() as report:
        while not run.finished and not run.interrupted:
            train_epoch(run, report)
        if run.checkpoint is None or run.checkpoint.name != f"step-{run.state.step:08d}":
            save(run, report)


def train_epoch(run: Run, report: Report | None) -> None:
    """Trains the rest of the current epoch and saves where one is due."""
    state, settings = run.state, run.settings
    for optimizer in (state.optimizer_G, state.optimizer_D):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, state.epoch)
    state.generator.train()
    for real_A, real_B in _batches(run):
        began = time.perf_counter()
        losses = train_step(state, real_A, real_B, gan_mode=settings.gan_mode, lambda_L1=settings.lambda_L1)
        state.step += 1
        state.batch += 1
        losses = _of_all(run, losses)
        _check_finite(run, losses)
        state.average(settings.ema_decay)
        state.seconds += time.perf_counter() - began
        if report:
            report.step(losses, pictures=len(real_A) * state.world.size)
        if run.finished or run.interrupted:
            break
    if state.batch == run.batches:
        state.epoch, state.batch = state.epoch + 1, 0
        if state.epoch % settings.save_every == 0:
            save(run, report)


def save(run: Run, report: Report | None) -> None:
    """Validates, draws the grid and writes a checkpoint; where there is little time, without validating."""
    world, figures = run.state.world, None if run.hurried else _validated(run)
    random_states = world.gather(random_state(run.state))
    run.checkpoint = world.from_main(partial(_write, run, random_states))
    if report:
        report.checkpoint(run.checkpoint, figures)
    run.interrupted, run.hurried = world.any(run.interrupted or bool(run.signalled), run.hurried)


def _validated(run: Run) -> dict[str, float] | None:
    """Measures the run on what is held out, and returns the figures."""
    if not run.held_out:
        return None
    run.metrics |= validate(run.state, run.held_out, run.settings)
    figures: dict[str, float] = run.metrics["validation"]
    run.metrics.setdefault("history", []).append({"step": run.state.step, "epoch": run.state.epoch} | figures)
    return figures


def _write(run: Run, random_states: list[RandomState]) -> Path:
    """Draws the grid and writes the checkpoint; returns where."""
    state, shown = run.state, run.held_out or run.training
    picture = grid(state, shown, run.settings)
    run.metrics |= {"step": state.step, "training_seconds": round(state.seconds, 1)}
    if run.hurried:  # what was measured last is of other weights
        run.metrics = {name: value for name, value in run.metrics.items() if name not in {"validation", "baseline"}}

    def write_pictures(folder: Path) -> None:
        write_png(folder / "grid.png", picture)
        write_examples(folder / "examples", shown)

    checkpoint = save_checkpoint(
        run.folder,
        state,
        run.settings,
        data=run.data,
        metrics=run.metrics,
        write_pictures=write_pictures,
        random_states=random_states,
    )
    (run.folder / "grids").mkdir(exist_ok=True)
    write_png(run.folder / "grids" / f"step-{state.step:08d}.png", picture)
    return checkpoint


def _batches(run: Run) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Gives what is left of the epoch, on the device, in the memory format that the networks have."""
    state, settings = run.state, run.settings
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    move = partial(torch.Tensor.to, device=state.device, memory_format=layout, non_blocking=True)
    batches = epoch_batches(run.training, settings, state.epoch, skip=state.batch * run.step_pairs, world=state.world)
    try:
        for real_A, real_B in batches:
            yield move(real_A), move(real_B)
    except PairsError as error:  # from a worker process, whose traceback stands before the message
        raise PairsError(str(error).strip().splitlines()[-1].split("PairsError: ")[-1]) from error


def _of_all(run: Run, losses: Losses) -> Losses:
    """Returns the losses over all processes, and sees whether one of them was told to stop.

    Both in one exchange, so that after each step all agree whether to go on.
    """
    stop, hurry = run.signalled is not None, run.signalled is signal.SIGTERM
    if run.state.world.alone:
        run.interrupted, run.hurried = stop, hurry
        return losses
    told = torch.tensor([stop, hurry], dtype=torch.float32, device=run.state.device)
    *means, stopping, hurrying = run.state.world.mean(torch.cat([torch.stack(losses).float(), told]))
    run.interrupted, run.hurried = bool(stopping > 0), bool(hurrying > 0)
    return Losses(*means)


def _check_finite(run: Run, losses: Losses) -> None:
    if all(torch.isfinite(torch.stack(losses))):
        return
    values = ", ".join(f"{name} {float(value):.3g}" for name, value in losses._asdict().items())
    where = f"the last good checkpoint is {run.checkpoint}" if run.checkpoint else "there is no checkpoint yet"
    raise Diverged(
        f"step {run.state.step}: the loss is no longer a number ({values}); {where}. "
        "A lower --lr or --precision fp32 may help."
    )


@contextmanager
def _interruptible(run: Run) -> Iterator[None]:
    """Lets the first Ctrl-C (or SIGTERM) end the run after the current step, and the second at once.

    SIGTERM is what a cluster sends before it takes the machine away: what must be saved then is saved in haste.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        if run.signalled:
            raise KeyboardInterrupt
        run.signalled = signal.Signals(number)
        tqdm.write(f"{run.signalled.name}: finishing this step, then saving (again: stop at once)")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
