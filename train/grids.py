"""Pictures of a run: rows of input, output, target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from train.data.dataset import to_picture, to_tensor
from train.data.pictures import write_png
from train.data.rows import beside, spread
from train.validation import inference

if TYPE_CHECKING:
    from pathlib import Path

    from train.data.dataset import PairDataset
    from train.data.pictures import Picture
    from train.settings import TrainSettings
    from train.state import State


@torch.no_grad()
def grid(state: State, dataset: PairDataset, settings: TrainSettings) -> Picture:
    """Returns uint8 [h, w, 3]: a row of input, output and target for each of up to 8 pairs, spread over the set."""
    rows = []
    with inference(state.best_generator, settings) as generator:
        for index in spread(len(dataset)):
            real_A, real_B = dataset[0, index]
            fake_B = generator(real_A[None].to(state.device))[0]
            rows.append(beside([to_picture(tensor) for tensor in (real_A, fake_B, real_B)]))
    return np.concatenate(rows)


def write_examples(folder: Path, dataset: PairDataset) -> None:
    """Writes the grid's inputs as folder/NAME.png: real pictures to prove an export on."""
    folder.mkdir()
    for index in spread(len(dataset)):
        dtype = dataset.pictures(index)[0].dtype.type  # what the file is worth as a proof, in 16 bits as well
        write_png(folder / f"{dataset.pairs[index].name}.png", to_picture(dataset[0, index][0], dtype))


def as_tensorboard(picture: Picture) -> torch.Tensor:
    """Turns uint8 [H, W, 3] into float [3, H, W] in [0, 1]."""
    return (to_tensor(picture) + 1) / 2
