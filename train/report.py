"""How a run tells of itself: on the terminal or in a plain log, and in TensorBoard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from train.data.pictures import read_picture
from train.grids import as_tensorboard

if TYPE_CHECKING:
    from pathlib import Path

    from train.loop import Run
    from train.step import Losses


class Report:
    """A progress bar, or lines where there is no terminal, beside TensorBoard's log; to be used as a context."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.state.step)
        self.progress: tqdm[Any] = tqdm(
            total=run.total_steps * run.step_pairs,
            initial=run.state.step * run.step_pairs,
            unit="picture",
            disable=None,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.close()
        self.board.close()

    def step(self, losses: Losses, *, pictures: int) -> None:
        """Tells of a step of so many pictures, where one is due to be told of."""
        run, progress = self.run, self.progress
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
            self.board.add_scalar(f"loss/{name}", value, step)
        if progress.disable:
            print(_line(run, shown), flush=True)

    def checkpoint(self, checkpoint: Path, figures: dict[str, float] | None) -> None:
        """Tells of the checkpoint that was just written: its figures, where it was validated, and its grid."""
        step = self.run.state.step
        for name, value in (figures or {}).items():
            self.board.add_scalar(f"validation/{name}", value, step)
        self.board.add_image("input, output, target", as_tensorboard(read_picture(checkpoint / "grid.png", 3)), step)
        tqdm.write(_summary(self.run, figures))


def _line(run: Run, losses: dict[str, str]) -> str:
    """Says in a log what the progress bar shows on a terminal."""
    state = run.state
    rate = state.step * run.step_pairs / state.seconds
    left = (run.total_steps - state.step) * run.step_pairs / rate
    figures = "  ".join(f"{name} {value}" for name, value in losses.items())
    progress = f"epoch {state.epoch + 1}/{run.settings.epochs}  step {state.step}/{run.total_steps}"
    return f"{progress}  {figures}  {rate:.1f} pictures/s  {time.strftime('%H:%M:%S', time.gmtime(left))} left"


def _summary(run: Run, figures: dict[str, float] | None) -> str:
    saved = f"epoch {run.state.epoch}  step {run.state.step}  saved {run.checkpoint}"
    if not figures:
        return saved
    return f"{saved}  validation L1 {figures['l1']:.4f}  PSNR {figures['psnr']:.2f} dB  SSIM {figures['ssim']:.4f}"
