"""Reads the generators of pytorch-CycleGAN-and-pix2pix, its U-Nets and ResNets, from files such as `latest_net_G.pth`.

What they are is told by the names and shapes of their tensors. A U-Net nests one block in the next: the outermost has
its convolution at `model.model.0`, the block within at 1 and its transposed convolution at 3; those in the middle have
convolution, norm, block within, transposed convolution and norm at 1, 2, 3, 5 and 6; the innermost convolution,
transposed convolution and norm at 1, 3 and 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from export.errors import CheckpointError
from export.sources import layout, options, pix2pixhd, residual, strangers, tensors, torch_file
from export.sources.layout import Layout
from export.sources.source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from export.sources.layout import Norm
    from export.sources.options import Options
    from export.sources.source import Direction, Wishes
    from train.models import GeneratorConfig

SIZE = 256  # pixels a side that the port trains at by default
_SHALLOWEST, _DEEPEST = 5, 10


class _Found(NamedTuple):
    """A generator of the port: its `netG`, which tensor is which of ours, where the last convolution's weights are."""

    netG: str
    layout: Layout
    first: str
    last: str
    dropout: bool | None = None  # None: it leaves no trace


def load(file: Path, wishes: Wishes) -> Source:
    """Reads a generator of pytorch-CycleGAN-and-pix2pix or of pix2pixHD.

    Raises CheckpointError where the file is damaged, holds another network, or is not what was wished for, and
    OptionError for a wish that it cannot grant.
    """
    found = torch_file.read(file)
    strangers.raise_stranger(file, found)
    blocks = residual.recognise(file, found)
    if blocks is None:
        return _source(file, _unet(file, found), found, wishes)
    if pix2pixhd.is_ours(blocks, found, wishes):
        return pix2pixhd.read(file, blocks, found, wishes)
    last = f"{blocks.last}.weight"
    resnet = _Found(f"resnet_{blocks.blocks}blocks", blocks.layout(), "model.1.weight", last, blocks.dropout)
    return _source(file, resnet, found, wishes)


def _unet(file: Path, found: Mapping[str, Tensor]) -> _Found:
    """Tells the U-Net's depth by its nesting. Raises CheckpointError where there is none, or of no usual depth."""
    outermost, within = "model.model", "model.model.1.model"
    if f"{outermost}.0.weight" not in found or f"{within}.1.weight" not in found:
        raise strangers.unknown(file, found)
    convs = {"down1": f"{outermost}.0", "up1": f"{outermost}.3"}
    norms: dict[str, str] = {}
    depth = 2
    while any(name.startswith(f"{within}.3.model.") for name in found):
        convs |= {f"down{depth}": f"{within}.1", f"up{depth}": f"{within}.5"}
        norms |= {f"down{depth}": f"{within}.2", f"up{depth}": f"{within}.6"}
        depth, within = depth + 1, f"{within}.3.model"
    convs |= {f"down{depth}": f"{within}.1", f"up{depth}": f"{within}.3"}
    norms |= {f"up{depth}": f"{within}.4"}
    if not _SHALLOWEST <= depth <= _DEEPEST:
        raise CheckpointError(
            f"{file} is a U-Net that halves {depth} times; supported are {_SHALLOWEST} to {_DEEPEST} (unet_128 has 7, "
            "unet_256 has 8)"
        )
    return _Found(f"unet_{2**depth}", Layout(convs, norms, "up1"), f"{convs['down1']}.weight", f"{convs['up1']}.weight")


def _source(file: Path, unit: _Found, found: Mapping[str, Tensor], wishes: Wishes) -> Source:
    said = options.read(file)
    norm = layout.recognise_norm(file, unit.layout, found, wishes.norm, hidden=_hidden(unit, found))
    architecture = _architecture(file, unit, found, norm, _dropout(unit, wishes, said))
    layout.refuse(file, architecture, wishes, dropout_shows=unit.dropout is not None)
    side = 128 if unit.netG == "unet_128" else SIZE
    height, width = options.size(said, architecture, side, side)
    return Source(
        place=file,
        origin="pytorch-CycleGAN-and-pix2pix",
        architecture=architecture,
        generator=layout.fill(file, architecture, unit.layout, found),
        sha256=tensors.sha256(file),
        recognised=_words(unit, architecture, norm),
        height=height,
        width=width,
        gathered=norm.gathered,
        batch_size=said.batch_size,
        direction=_direction(file, said),
        data=said.data,
        training=said.recipe,
    )


def _architecture(file: Path, unit: _Found, found: Mapping[str, Tensor], norm: Norm, dropout: bool) -> GeneratorConfig:
    ngf, input_nc, _, _ = layout.four(file, found, unit.first)
    last = layout.four(file, found, unit.last)
    return layout.configure(
        file,
        netG=unit.netG,
        input_nc=input_nc,
        output_nc=last[1] if unit.netG.startswith("unet") else last[0],  # a transposed convolution has [in, out, …]
        ngf=ngf,
        norm=norm.norm,
        norm_affine=norm.affine,
        use_dropout=dropout,
        all_biases=norm.norm == "batch" and unit.layout.biased(found),
        innermost_dropout=False,
    )


def _hidden(unit: _Found, found: Mapping[str, Tensor]) -> str:
    """Returns the norm that is there though it leaves no tensors: the port gives biases only to instance norm."""
    return "instance" if unit.layout.biased(found) else "none"


def _dropout(unit: _Found, wishes: Wishes, said: Options) -> bool:
    """Tells whether there is dropout: by the tensors, else as wished, else by the options, else as by default: yes."""
    if unit.dropout is not None:
        return unit.dropout
    if wishes.dropout is not None:
        return wishes.dropout
    return not said.no_dropout


def _direction(file: Path, said: Options) -> Direction:
    """Returns which side of a pair is the input; CycleGAN's second generator goes the other way."""
    direction: Direction = said.direction or "AtoB"
    if file.stem.endswith("net_G_B"):
        return "AtoB" if direction == "BtoA" else "BtoA"
    return direction


def _words(unit: _Found, architecture: GeneratorConfig, norm: Norm) -> str:
    dropout = {None: "", True: ", dropout", False: ", no dropout"}[unit.dropout]
    return (
        f"pytorch-CycleGAN-and-pix2pix {unit.netG}, ngf {architecture.ngf}, {architecture.input_nc} → "
        f"{architecture.output_nc} channels, {norm.words}{dropout}"
    )
