"""Run by tests under torchrun, or alone: takes a few steps and writes what each process holds to FOLDER/RANK.pt.

Where a checkpoint is given they go on from it, and the main process alone knows where it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from train.checkpoint import restore
from train.data.dataset import PairDataset, epoch_batches
from train.data.layouts import find_pairs
from train.settings import TrainSettings
from train.state import new_state
from train.step import train_step
from train.validation import validate
from train.world import joined


def main(folder: Path, steps: int, given: str, checkpoint: Path | None = None) -> None:
    settings = TrainSettings(**json.loads(given))
    assert settings.data is not None
    with joined("cpu") as world:
        state = new_state(settings, world)
        if checkpoint:
            restore(state, checkpoint if world.main else Path("/nowhere"), settings)
        training = PairDataset(find_pairs(settings.data, "train").pairs, settings, augment=True)
        done = state.batch * settings.batch_size * world.size
        batches = epoch_batches(training, settings, epoch=0, skip=done, world=world)
        losses = []
        for _, (real_A, real_B) in zip(range(steps), batches, strict=False):
            mine = train_step(state, real_A, real_B, gan_mode="vanilla", lambda_L1=100.0)
            losses.append(world.mean(torch.stack(mine)))
            state.step += 1
            state.average(settings.ema_decay)
        networks = {"G": state.generator, "D": state.discriminator}
        held = {
            "losses": torch.stack(losses),
            "gradients": {f"{n}.{k}": p.grad for n, net in networks.items() for k, p in net.named_parameters()},
            "generator": state.generator.state_dict(),
            "step": state.step,
            "dropout": torch.rand(1),
            "figures": validate(
                state, PairDataset(find_pairs(settings.data, "val").pairs, settings, augment=False), settings
            ),
        }
        torch.save(held, folder / f"{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], *map(Path, sys.argv[4:]))
