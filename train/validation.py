"""How good the pictures are, on pairs that the run is not trained on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from train.data.dataset import PairDataset
    from train.settings import TrainSettings
    from train.state import State

Figures = dict[str, float]


class _Metrics:
    """L1 (0 is best, 1 worst), PSNR in dB and SSIM (1 is best) over pictures in [0, 1].

    `compute` adds up what all processes have seen; the library sees to it where there are several.
    """

    def __init__(self, device: torch.device) -> None:
        self.l1 = MeanAbsoluteError().to(device)
        self.psnr = PeakSignalNoiseRatio(data_range=1.0).to(device)
        self.ssim = StructuralSimilarityIndexMeasure(data_range=1.0).to(device)

    def update(self, answer: Tensor, target: Tensor) -> None:
        self.l1.update(answer, target)
        self.psnr.update(answer, target)
        self.ssim.update(answer, target)

    def compute(self) -> Figures:
        return {
            "l1": float(self.l1.compute()),
            "psnr": float(self.psnr.compute()),
            "ssim": float(torch.as_tensor(self.ssim.compute())),
        }


@torch.no_grad()
def validate(state: State, dataset: PairDataset, settings: TrainSettings) -> dict[str, Figures]:
    """Returns "validation", the figures of the averaged generator, and "baseline", those of the input as the answer.

    Pictures are rounded to the 256 levels that a service answers with. There is no baseline where A and B differ in
    channels. PSNR is that of all pixels together. Processes share the pairs, each pair measured once, and all return
    the figures of all.
    """
    state.world.share(state.best_generator)  # batch norms gather statistics of their own in each process
    metrics, baseline = _Metrics(state.device), _Metrics(state.device)
    comparable = settings.input_nc == settings.output_nc
    with inference(state.best_generator, settings) as generator:
        for index in range(state.world.rank, len(dataset), state.world.size):
            real_A, real_B = (tensor[None].to(state.device) for tensor in dataset[0, index])
            metrics.update(_unit(generator(real_A)), _unit(real_B))
            if comparable:
                baseline.update(_unit(real_A), _unit(real_B))
    figures = {"validation": metrics.compute() | {"pairs": len(dataset)}}
    return figures | ({"baseline": baseline.compute() | {"pairs": len(dataset)}} if comparable else {})


@contextmanager
def inference(generator: nn.Module, settings: TrainSettings) -> Iterator[nn.Module]:
    """Puts the generator in the state in which it is exported: no dropout, and the statistics it was trained with.

    After training at batch size 1 those are the statistics of each picture, as in the references; with larger
    batches, the running ones. To be used one picture at a time.
    """
    was_training = generator.training
    generator.eval()
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    if settings.normalises_singly:
        for norm in norms:
            norm.track_running_stats = False
            norm.train()
    try:
        yield generator
    finally:
        for norm in norms:
            norm.track_running_stats = True
        generator.train(was_training)


def _unit(pictures: Tensor) -> Tensor:
    """Turns [-1, 1] into [0, 1], rounded to 256 levels."""
    return ((pictures.float() * 127.5 + 127.5).round().clamp(0, 255) / 255).contiguous()
