"""Everything that a run changes: networks, averages, optimisers, and how far it has come."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from train.ema import update_average
from train.errors import TrainError
from train.models import (
    DiscriminatorConfig,
    GeneratorConfig,
    PatchGAN,
    ResNet,
    UNet,
    build_discriminator,
    build_generator,
    initialise,
    size_multiple,
    smallest_size,
)
from train.precision import autocast_dtype, pick_device
from train.world import ALONE, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from train.settings import TrainSettings


@dataclass
class State:
    """The state of a run. `epoch` counts from 0; `batch` counts the epoch's batches that are done.

    `begun_with` counts the processes that wrote the checkpoint which the run goes on from.
    `G` and `D` are what a step calls: the networks themselves, or wrapped so that all processes learn alike.
    """

    generator: UNet | ResNet
    discriminator: PatchGAN
    ema: UNet | ResNet | None
    optimizer_G: torch.optim.Adam
    optimizer_D: torch.optim.Adam
    device: torch.device
    dtype: torch.dtype | None
    world: World = ALONE
    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    begun_with: int | None = None
    G: nn.Module = field(init=False)
    D: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.G, self.D = self.world.parallel(self.generator), self.world.parallel(self.discriminator)

    def autocast(self) -> AbstractContextManager[Any]:
        """Gives the context in which the networks compute."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)

    def average(self, decay: float) -> None:
        """Moves the averaged weights on by a step, where they are kept."""
        if self.ema is not None:
            update_average(self.ema, self.generator, decay, self.step)

    @property
    def best_generator(self) -> UNet | ResNet:
        """The averaged generator where there is one: what is validated, shown and exported."""
        return self.generator if self.ema is None else self.ema


def generator_config(settings: TrainSettings) -> GeneratorConfig:
    """Returns the generator that the settings ask for. Raises TrainError where the crop does not fit it."""
    config = GeneratorConfig(
        netG=settings.netG,
        input_nc=settings.input_nc,
        output_nc=settings.output_nc,
        ngf=settings.ngf,
        norm=settings.norm,
        use_dropout=settings.drops,
        n_downsample_global=settings.n_downsample_global,
        n_blocks_global=settings.n_blocks_global,
    )
    multiple, smallest = size_multiple(config), smallest_size(config)
    if settings.crop_size % multiple or settings.crop_size < smallest:
        raise TrainError(
            f"--crop-size {settings.crop_size}: {settings.netG} takes multiples of {multiple} pixels from {smallest}"
        )
    return config


def discriminator_config(settings: TrainSettings) -> DiscriminatorConfig:
    """Returns the discriminator that the settings ask for."""
    return DiscriminatorConfig(
        input_nc=settings.input_nc + settings.output_nc,
        ndf=settings.ndf,
        n_layers_D=settings.n_layers_D,
        norm=settings.norm,
    )


def new_state(settings: TrainSettings, world: World = ALONE) -> State:
    """Builds and seeds a run that has not begun: in all processes the same weights, in each its own dropout."""
    try:
        device = pick_device(settings.device, world)
    except ValueError as error:
        raise TrainError(str(error)) from error
    torch.manual_seed(settings.seed)
    generator = build_generator(generator_config(settings))
    discriminator = build_discriminator(discriminator_config(settings))
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    for network in (generator, discriminator):
        initialise(network)
        network.to(device, memory_format=layout)  # type: ignore[call-overload] # the stub leaves it out
    ema = deepcopy(generator).requires_grad_(requires_grad=False) if settings.ema_decay else None
    if settings.sync_batchnorm and not world.alone:  # after the copy, which is only ever used by one process
        convert: Callable[[nn.Module], Any] = nn.SyncBatchNorm.convert_sync_batchnorm
        generator, discriminator = convert(generator), convert(discriminator)
    if not world.main:  # the main process goes on with the numbers that it would have alone
        reseed(settings.seed, world.rank)
    adam = partial(torch.optim.Adam, lr=settings.lr, betas=(settings.beta1, 0.999))
    return State(
        generator=generator,
        discriminator=discriminator,
        ema=ema,
        optimizer_G=adam(generator.parameters()),
        optimizer_D=adam(discriminator.parameters()),
        device=device,
        dtype=autocast_dtype(settings.precision, device),
        world=world,
    )


def reseed(*seeds: int) -> None:
    """Seeds dropout with all of `seeds` together, each from 0."""
    torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))


def learning_rate(settings: TrainSettings, epoch: int) -> float:
    """Returns the learning rate of an epoch (from 0): flat, then linear, reaching 0 one epoch after the last."""
    return settings.lr * min(1.0, (settings.epochs - epoch) / (settings.n_epochs_decay + 1))
