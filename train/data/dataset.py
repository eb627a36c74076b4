"""Pairs as tensors, in an order and with crops and flips that depend on the seed, the epoch and the pair alone.

Nothing here keeps a random state: whatever the number of workers, and wherever a run was interrupted, a pair looks the
same in the same epoch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from math import ceil
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from train.data.layouts import read_pair
from train.data.pictures import Picture, UnreadablePicture, resize
from train.errors import PairsError
from train.world import ALONE, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from train.data.layouts import Pair
    from train.settings import TrainSettings

PairOfTensors = tuple["Tensor", "Tensor"]
TO_THE_GROUP = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and what torchrun sends


class PairDataset(Dataset[PairOfTensors]):
    """Gives (real_A [input_nc, H, W], real_B [output_nc, H, W]) as floats in [-1, 1].

    The reference's preprocessing: resize to load_size, crop crop_size at random, mirror half; the same for A and B.
    Without `augment`: resized to crop_size. An item is asked for by (epoch, index); raises PairsError, naming the
    file, where a picture can no longer be read.
    """

    def __init__(self, pairs: list[Pair], settings: TrainSettings, *, augment: bool) -> None:
        self.pairs = pairs
        self.settings = settings
        self.augment = augment

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int]) -> PairOfTensors:
        epoch, index = key
        A, B = self.pictures(index)
        if self.augment:
            A, B = self._augment(A, B, np.random.default_rng((self.settings.seed, epoch, index)))
        else:
            A, B = (resize(picture, self.settings.crop_size, self.settings.crop_size) for picture in (A, B))
        return to_tensor(A), to_tensor(B)

    def pictures(self, index: int) -> tuple[Picture, Picture]:
        """Returns the input and the target as they are on disk, [H, W, C], in the direction that is trained."""
        settings = self.settings
        forward = settings.direction == "AtoB"
        channels = (settings.input_nc, settings.output_nc) if forward else (settings.output_nc, settings.input_nc)
        try:
            A, B = read_pair(self.pairs[index], *channels)
        except UnreadablePicture as error:
            raise PairsError(str(error)) from error
        return (A, B) if forward else (B, A)

    def _augment(self, A: Picture, B: Picture, rng: np.random.Generator) -> tuple[Picture, Picture]:
        load, crop = self.settings.load_size, self.settings.crop_size
        top, left = rng.integers(0, load - crop + 1, size=2)
        mirrored = self.settings.flip and bool(rng.integers(2))

        def transform(picture: Picture) -> Picture:
            picture = resize(picture, load, load)[top : top + crop, left : left + crop]
            return picture[:, ::-1] if mirrored else picture

        return transform(A), transform(B)


# Workers are forked from a process that has no threads: one forked from ours may inherit a lock that a thread of
# TensorBoard, of the progress bar or of the process group held just then, and wait for it for ever.
_WORKERS = multiprocessing.get_context("forkserver")
_WORKERS.set_forkserver_preload([__name__])


class PairSampler(Sampler[tuple[int, int]]):
    """Gives (epoch, index) for the rest of one epoch, shuffled by the seed and the epoch: one process's share of it.

    The processes take turns, so that their batches together are the batch that one process alone would see. Where they
    cannot share evenly the first pairs of the order come once more, in all fewer than there are processes.
    """

    def __init__(self, length: int, *, seed: int, epoch: int, skip: int = 0, world: World = ALONE) -> None:
        order = np.random.default_rng((seed, epoch)).permutation(length)
        shared = np.resize(order, ceil(length / world.size) * world.size)  # repeats what it lacks
        self.order = shared[skip:][world.rank :: world.size]
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, int(index)) for index in self.order)


def epoch_batches(
    dataset: PairDataset, settings: TrainSettings, epoch: int, skip: int, world: World = ALONE
) -> Iterator[PairOfTensors]:
    """Starts to load this process's batches of an epoch, without the first `skip` pairs of all."""
    loader = DataLoader(
        dataset,
        batch_size=settings.batch_size,
        sampler=PairSampler(len(dataset), seed=settings.seed, epoch=epoch, skip=skip, world=world),
        num_workers=settings.num_workers,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context=_WORKERS if settings.num_workers else None,
        worker_init_fn=_begin,
        # A generator of its own: the loader draws a seed when it starts, and a resumed epoch starts it once more.
        generator=torch.Generator(),
    )
    # A worker is in our process group until it leaves it, and what forks it stays there: what the group is sent must
    # not end them. Python starts a process of its own before the first of them, and unblocks the signals then.
    resource_tracker.ensure_running()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, TO_THE_GROUP)
    try:
        return iter(loader)  # starts the workers, which begin with these signals blocked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def to_tensor(picture: Picture) -> Tensor:
    """Turns uint8 or uint16 [H, W, C] into float [C, H, W] in [-1, 1]."""
    scale = np.float32(2 / np.iinfo(picture.dtype).max)
    return torch.from_numpy(picture.transpose(2, 0, 1) * scale - np.float32(1))


def to_picture(tensor: Tensor, dtype: type[np.unsignedinteger[Any]] = np.uint8) -> Picture:
    """Turns float [C, H, W] in [-1, 1] into uint8 or uint16 [H, W, C], rounded."""
    half = np.iinfo(dtype).max / 2
    levels = (tensor.detach().float().cpu() * half + half).round().clamp(0, 2 * half)
    return levels.permute(1, 2, 0).numpy().astype(dtype)


def _begin(worker: int) -> None:  # noqa: ARG001 (the library's signature)
    """Leaves Ctrl-C and torchrun's SIGTERM, which reach a whole group, to the training process, and ends with it."""
    os.setpgid(0, 0)
    while signal.sigtimedwait(TO_THE_GROUP, 0):  # drops what came before
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TO_THE_GROUP)
    threading.Thread(target=_end_with_the_training, daemon=True).start()


def _end_with_the_training() -> None:
    """Ends the worker when the training process is gone, however it went: the library looks at what forks us."""
    if training := multiprocessing.parent_process():
        training.join()
        os._exit(1)
