"""One step of the conditional GAN: first the discriminator learns, then the generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional as F

from train.losses import gan_loss

if TYPE_CHECKING:
    from torch import Tensor

    from train.state import State


class Losses(NamedTuple):
    """The losses of a step, named as the references print them; scalars, detached."""

    G_GAN: Tensor
    G_L1: Tensor
    D_real: Tensor
    D_fake: Tensor


def train_step(state: State, real_A: Tensor, real_B: Tensor, *, gan_mode: str, lambda_L1: float) -> Losses:
    """Updates both networks on a batch: real_A [N, input_nc, H, W], real_B [N, output_nc, H, W], floats in [-1, 1]."""
    G, D = state.G, state.D  # across processes, their backward passes average the gradients
    with state.autocast():
        fake_B = G(real_A)

        # D: real pairs are real, fake pairs are fake. Halved, so that it learns slower than G (paper, section 3.3).
        D.requires_grad_(True)
        loss_D_fake = gan_loss(D(torch.cat([real_A, fake_B.detach()], 1)).float(), real=False, gan_mode=gan_mode)
        loss_D_real = gan_loss(D(torch.cat([real_A, real_B], 1)).float(), real=True, gan_mode=gan_mode)
    state.optimizer_D.zero_grad()
    _backward(0.5 * (loss_D_fake + loss_D_real))
    state.optimizer_D.step()

    # G: fool the D that has just learnt, and stay near the target. D is frozen: its bare network is called, because
    # a wrapped one would wait for gradients to average.
    with state.autocast():
        D.requires_grad_(False)
        frozen_D = state.discriminator
        loss_G_GAN = gan_loss(frozen_D(torch.cat([real_A, fake_B], 1)).float(), real=True, gan_mode=gan_mode)
        loss_G_L1 = F.l1_loss(fake_B.float(), real_B)
    state.optimizer_G.zero_grad()
    _backward(loss_G_GAN + lambda_L1 * loss_G_L1)
    state.optimizer_G.step()
    return Losses(loss_G_GAN.detach(), lambda_L1 * loss_G_L1.detach(), loss_D_real.detach(), loss_D_fake.detach())


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated
