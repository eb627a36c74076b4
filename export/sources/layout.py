"""From the tensors of a foreign generator to ours: which of its tensors is which of ours, and what its norms are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from export.errors import CheckpointError, OptionError
from export.sources import tensors
from train.models import GeneratorConfig, UnknownArchitecture, build_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from torch import nn

    from export.sources.source import Wishes

_LEARNT = ("weight", "bias")
_RUNNING = ("running_mean", "running_var")
_COUNT = "num_batches_tracked"  # PyTorch before 0.4.1 wrote none
_WORDS = {"batch": "batch norm", "instance": "instance norm", "none": "no norm"}


@dataclass(frozen=True)
class Layout:
    """The names of the checkpoint's convolutions and norms by our block: `convs["down2"]` is "model.model.1.model.1".

    `last` is our block whose convolution has a bias in every variant.
    """

    convs: Mapping[str, str]
    norms: Mapping[str, str]
    last: str

    def biased(self, found: Mapping[str, Tensor]) -> bool:
        """Tells whether convolutions other than the last have biases."""
        return any(f"{conv}.bias" in found for block, conv in self.convs.items() if block != self.last)

    def normed(self, found: Mapping[str, Tensor], kinds: Iterable[str]) -> bool:
        """Tells whether norms have any of these tensors."""
        return any(f"{norm}.{kind}" in found for norm in self.norms.values() for kind in kinds)

    def theirs(self, name: str) -> str:
        """Returns the checkpoint's name for a tensor of ours, as in "down2.norm.weight"."""
        block, kind, tensor = name.rsplit(".", 2)
        return f"{(self.convs if kind == 'conv' else self.norms)[block]}.{tensor}"


class Norm(NamedTuple):
    """A norm, whether an instance norm has scale and shift, and whether running statistics were gathered."""

    norm: str
    affine: bool = False
    gathered: bool = False

    @property
    def words(self) -> str:
        """How it is called."""
        return f"{_WORDS[self.norm]} with scale and shift" if self.affine else _WORDS[self.norm]


def recognise_norm(file: Path, layout: Layout, found: Mapping[str, Tensor], wished: str | None, *, hidden: str) -> Norm:
    """Tells the norms by their tensors; where they leave none, it is `hidden`, unless another is wished for.

    Raises CheckpointError for a wish that the tensors contradict.
    """
    learnt, running = layout.normed(found, _LEARNT), layout.normed(found, _RUNNING)
    if learnt and running:
        possible = [Norm("batch", gathered=True), *([Norm("instance", affine=True)] if layout.biased(found) else [])]
    elif learnt:
        possible = [Norm("instance", affine=True)]
    elif running:  # as PyTorch before 0.4 saved instance norms
        possible = [Norm("instance")]
    else:
        possible = sorted([Norm("instance"), Norm("none")], key=lambda norm: norm.norm != hidden)
    for norm in possible:
        if wished in {None, norm.norm}:
            return norm
    raise CheckpointError(f"{file} has {possible[0].words} by its tensors, not --norm {wished}; leave the option out")


def configure(file: Path, **fields: object) -> GeneratorConfig:
    """Returns the configuration; raises CheckpointError where the tensors' shapes make none."""
    try:
        return GeneratorConfig.from_mapping(fields)
    except UnknownArchitecture as error:
        raise CheckpointError(f"{file}: {error}") from error


def refuse(file: Path, architecture: GeneratorConfig, wishes: Wishes, *, dropout_shows: bool) -> None:
    """Raises an error where the user takes the checkpoint for another one than its tensors show."""
    if wishes.weights == "ema":
        raise OptionError(f"--weights ema: {file} holds one set of weights; leave the option out")
    wished = {name: getattr(wishes, name) for name in ("netG", "ngf", "input_nc", "output_nc")}
    found = {name: getattr(architecture, name) for name in wished}
    if dropout_shows:
        wished["dropout"], found["dropout"] = wishes.dropout, architecture.use_dropout
    differ = [
        f"{name} {found[name]}, not {value}"
        for name, value in wished.items()
        if value is not None and value != found[name]
    ]
    if differ:
        raise CheckpointError(f"{file} has by its tensors {'; '.join(differ)}; leave the option out")


def four(file: Path, found: Mapping[str, Tensor], name: str) -> tuple[int, int, int, int]:
    """Returns the shape of a convolution's weights. Raises CheckpointError where they are missing or no such."""
    if name not in found:
        raise CheckpointError(f"{file} does not hold the weights of a whole generator: missing {name}")
    shape = tuple(found[name].shape)
    if len(shape) != 4:
        raise CheckpointError(f"{file}: {name} is {list(shape)}; a convolution's weights have four dimensions")
    return shape


def fill(file: Path, architecture: GeneratorConfig, layout: Layout, found: Mapping[str, Tensor]) -> nn.Module:
    """Returns our generator with the checkpoint's weights, in eval mode and without gradients.

    Biases that the other network never had are zeros. Raises CheckpointError that lists what does not fit.
    """
    with torch.device("meta"):  # nothing is allocated for shapes that the file only claims
        generator = build_generator(architecture).eval().requires_grad_(requires_grad=False)
    ours = generator.state_dict()
    theirs = {name: layout.theirs(name) for name in ours}
    given = _completed(layout, architecture, {theirs[name]: tensor for name, tensor in ours.items()}, found)
    tensors.check(file, {theirs[name]: tensor for name, tensor in ours.items()}, given)
    generator.load_state_dict({name: given[theirs[name]].contiguous() for name in ours}, assign=True)
    return generator.requires_grad_(requires_grad=False)


def _completed(
    layout: Layout, architecture: GeneratorConfig, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Adds what other versions leave out, and drops the running statistics that instance norms never use."""
    given = dict(found)
    if architecture.norm == "instance":
        unused = {f"{norm}.{tensor}" for norm in layout.norms.values() for tensor in (*_RUNNING, _COUNT)}
        given = {name: tensor for name, tensor in given.items() if name not in unused}
    biased = layout.biased(found)
    for name, tensor in wanted.items():
        place, _, kind = name.rpartition(".")
        never = kind == "bias" and place in layout.convs.values() and place != layout.convs[layout.last] and not biased
        if kind == _COUNT or never:
            given.setdefault(name, torch.zeros(tensor.shape, dtype=tensor.dtype))
    return given
