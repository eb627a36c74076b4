"""Reads the global generator of pix2pixHD (arXiv 1711.11585): `latest_net_G.pth` of a training with `--netG global`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.sources import layout, options, tensors
from export.sources.source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from export.sources.residual import Residual
    from export.sources.source import Wishes

HEIGHT, WIDTH = 512, 1024  # its trainings' default: 1024 wide, Cityscapes' 2:1
_PICTURES = 4  # channels: RGB and the instances' edges; more are label maps, one channel of 0 and 1 for each label


def is_ours(residual: Residual, found: Mapping[str, Tensor], wishes: Wishes) -> bool:
    """Tells whether this residual generator is pix2pixHD's and not a ResNet of pytorch-CycleGAN-and-pix2pix.

    The latter halves twice, and beside a batch norm has no biases. Where a network may be either, it is the same
    network; label maps or a wish then tell.
    """
    if residual.downs != 2 or wishes.netG == "global":
        return True
    names, channels = residual.layout(), found["model.1.weight"].shape[1:2]
    batch_norm = names.normed(found, ("running_mean",)) and names.normed(found, ("weight",))
    labels = wishes.netG is None and channels > (_PICTURES,)
    return names.biased(found) and not residual.dropout and (batch_norm or labels)


def read(file: Path, residual: Residual, found: Mapping[str, Tensor], wishes: Wishes) -> Source:
    """Returns the generator and what is known of it.

    Raises CheckpointError where the tensors are not whole, or not what was wished for.
    """
    names = residual.layout()
    norm = layout.recognise_norm(file, names, found, wishes.norm, hidden="instance")
    ngf, input_nc, _, _ = layout.four(file, found, "model.1.weight")
    architecture = layout.configure(
        file,
        netG="global",
        input_nc=input_nc,
        output_nc=layout.four(file, found, f"{residual.last}.weight")[0],
        ngf=ngf,
        norm=norm.norm,
        norm_affine=norm.affine,
        use_dropout=residual.dropout,
        n_downsample_global=residual.downs,
        n_blocks_global=residual.blocks,
    )
    layout.refuse(file, architecture, wishes, dropout_shows=True)
    said = options.read(file)
    height, width = options.size(said, architecture, HEIGHT, WIDTH)
    return Source(
        place=file,
        origin="pix2pixHD",
        architecture=architecture,
        generator=layout.fill(file, architecture, names, found),
        sha256=tensors.sha256(file),
        recognised=f"pix2pixHD global generator, {residual.downs} halvings, {residual.blocks} blocks, ngf {ngf}, "
        f"{input_nc} → {architecture.output_nc} channels, {norm.words}",
        height=height,
        width=width,
        gathered=norm.gathered,
        batch_size=said.batch_size,
        scaling="unit" if input_nc > _PICTURES else "signed",
        data=said.data,
        training=said.recipe,
    )
