"""The run: epochs of steps, with a checkpoint, validation and a grid every so often."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from train.checkpoint import save_checkpoint
from train.data.dataset import PairDataset, epoch_loader
from train.data.pictures import write_png
from train.errors import Diverged, PairsError
from train.grids import as_tensorboard, grid, write_examples
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
    """One training run: what it learns from, where it writes, how far it has come."""

    settings: TrainSettings
    folder: Path
    state: State
    training: PairDataset
    held_out: PairDataset | None
    data: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    interrupted: bool = False

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return ceil(len(self.training) / self.settings.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps in the whole run."""
        steps = self.settings.epochs * self.batches
        return min(steps, self.settings.max_steps or steps)

    @property
    def finished(self) -> bool:
        """Tells whether no step is left."""
        return self.state.step >= self.total_steps


def train(run: Run) -> None:
    """Trains until the run is finished or interrupted; either way the last step is in a checkpoint.

    Raises Diverged where a loss is no longer a number, naming the step and the last good checkpoint.
    """
    with _interruptible(run), SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.state.step) as board:
        progress = tqdm(
            total=run.total_steps * run.settings.batch_size,
            initial=run.state.step * run.settings.batch_size,
            unit="picture",
            disable=None,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        with progress:
            while not run.finished and not run.interrupted:
                train_epoch(run, board, progress)
        if run.checkpoint is None or run.checkpoint.name != f"step-{run.state.step:08d}":
            save(run, board)


def train_epoch(run: Run, board: SummaryWriter, progress: tqdm[Any]) -> None:
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
        _check_finite(run, losses)
        state.average(settings.ema_decay)
        state.seconds += time.perf_counter() - began
        _report(run, losses, board, progress, pictures=len(real_A))
        if run.finished or run.interrupted:
            break
    if state.batch == run.batches:
        state.epoch, state.batch = state.epoch + 1, 0
        if state.epoch % settings.save_every == 0:
            save(run, board)


def save(run: Run, board: SummaryWriter) -> None:
    """Validates, draws the grid and writes a checkpoint."""
    state = run.state
    shown = run.held_out or run.training
    picture = grid(state, shown, run.settings)
    if run.held_out:
        run.metrics |= validate(state, run.held_out, run.settings)
        for name, value in run.metrics["validation"].items():
            board.add_scalar(f"validation/{name}", value, state.step)
        entry = {"step": state.step, "epoch": state.epoch} | run.metrics["validation"]
        run.metrics.setdefault("history", []).append(entry)
    board.add_image("input, output, target", as_tensorboard(picture), state.step)
    run.metrics |= {"step": state.step, "training_seconds": round(state.seconds, 1)}

    def write_pictures(folder: Path) -> None:
        write_png(folder / "grid.png", picture)
        write_examples(folder / "examples", shown)

    run.checkpoint = save_checkpoint(
        run.folder, state, run.settings, data=run.data, metrics=run.metrics, write_pictures=write_pictures
    )
    (run.folder / "grids").mkdir(exist_ok=True)
    write_png(run.folder / "grids" / f"step-{state.step:08d}.png", picture)
    tqdm.write(_summary(run))


def _batches(run: Run) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Gives what is left of the epoch, on the device, in the memory format that the networks have."""
    state, settings = run.state, run.settings
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    move = partial(torch.Tensor.to, device=state.device, memory_format=layout, non_blocking=True)
    loader = epoch_loader(run.training, settings, state.epoch, skip=state.batch * settings.batch_size)
    try:
        for real_A, real_B in loader:
            yield move(real_A), move(real_B)
    except PairsError as error:  # from a worker process, whose traceback stands before the message
        raise PairsError(str(error).strip().splitlines()[-1].split("PairsError: ")[-1]) from error


def _check_finite(run: Run, losses: Losses) -> None:
    if all(torch.isfinite(torch.stack(losses))):
        return
    values = ", ".join(f"{name} {float(value):.3g}" for name, value in losses._asdict().items())
    where = f"the last good checkpoint is {run.checkpoint}" if run.checkpoint else "there is no checkpoint yet"
    raise Diverged(
        f"step {run.state.step}: the loss is no longer a number ({values}); {where}. "
        "A lower --lr or --precision fp32 may help."
    )


def _report(run: Run, losses: Losses, board: SummaryWriter, progress: tqdm[Any], *, pictures: int) -> None:
    progress.update(pictures)
    step, due = run.state.step, run.state.step % run.settings.print_every == 0
    if not due and (progress.disable or step % 10):
        return
    values = {name: float(value) for name, value in losses._asdict().items()}
    shown = {name: f"{value:.3f}" for name, value in values.items()}
    progress.set_description(f"epoch {run.state.epoch + 1}/{run.settings.epochs}", refresh=False)
    progress.set_postfix(shown)
    if not due:
        return
    for name, value in values.items():
        board.add_scalar(f"loss/{name}", value, step)
    if progress.disable:
        print(_line(run, shown), flush=True)


def _line(run: Run, losses: dict[str, str]) -> str:
    """Says in a log what the progress bar shows on a terminal."""
    state = run.state
    rate = state.step * run.settings.batch_size / state.seconds
    left = (run.total_steps - state.step) * run.settings.batch_size / rate
    figures = "  ".join(f"{name} {value}" for name, value in losses.items())
    progress = f"epoch {state.epoch + 1}/{run.settings.epochs}  step {state.step}/{run.total_steps}"
    return f"{progress}  {figures}  {rate:.1f} pictures/s  {time.strftime('%H:%M:%S', time.gmtime(left))} left"


def _summary(run: Run) -> str:
    saved = f"epoch {run.state.epoch}  step {run.state.step}  saved {run.checkpoint}"
    figures = run.metrics.get("validation")
    if not figures:
        return saved
    return f"{saved}  validation L1 {figures['l1']:.4f}  PSNR {figures['psnr']:.2f} dB  SSIM {figures['ssim']:.4f}"


@contextmanager
def _interruptible(run: Run) -> Iterator[None]:
    """Lets the first Ctrl-C (or SIGTERM) end the run after the current step, and the second at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        if run.interrupted:
            raise KeyboardInterrupt
        run.interrupted = True
        tqdm.write(f"{signal.Signals(number).name}: finishing this step, then saving (again: stop at once)")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
