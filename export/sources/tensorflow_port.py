"""From the variables of pix2pix-tensorflow to the same network in PyTorch.

Its U-Net differs from the paper's in that every convolution has a bias and that the innermost layer is normalised too,
which at 1x1 pixels leaves nothing but the shift; and its decoder takes the skip after its own channels. Kernels are
[height, width, in, out], those of transposed convolutions [height, width, out, in]. Its first versions had other names
and no biases. Running statistics are never updated there, so they are not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from export.errors import CheckpointError, OptionError
from export.sources.source import Source
from train.models import GeneratorConfig, build_generator
from train.models.config import DOWNS
from train.models.unet import WIDEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from export.sources.source import Direction, Wishes

GENERATOR = "generator/"
MOST_CHANNELS = 4096  # of the first layer; 64 is usual, and memory grows with its square
_LAYER = re.compile(r"generator/(?:en|de)coder_(\d{1,3})/")
_KINDS = {depth: netG for netG, depth in DOWNS.items()}
# What an optimiser or a moving average keeps of a variable; the generator translates without it.
_KEPT_BESIDE = {"Adam", "Adam_1", "ExponentialMovingAverage", "moving_mean", "moving_variance"}


@dataclass(frozen=True)
class Names:
    """What the variables of a layer are called inside its scope."""

    down: str
    up: str
    bias: str | None
    norm: str
    scale: str
    shift: str


CURRENT = Names("conv2d", "conv2d_transpose", "bias", "batch_normalization", "gamma", "beta")
FIRST = Names("conv", "deconv", None, "batchnorm", "scale", "offset")


@dataclass(frozen=True)
class Facts:
    """What is known of a training beside its weights; None where nobody says."""

    sha256: str
    step: int | None = None
    batch_size: int | None = None
    direction: Direction = "AtoB"
    training: Mapping[str, Any] | None = None


def is_wanted(name: str) -> bool:
    """Tells whether a variable of this name belongs to the generator's weights."""
    return name.startswith(GENERATOR) and name.rpartition("/")[2] not in _KEPT_BESIDE


def build(place: Path, variables: Mapping[str, NDArray[Any]], facts: Facts, wishes: Wishes) -> Source:
    """Returns the generator with these variables, found whole, and what is known of it.

    Raises CheckpointError, which lists all that is wrong by name, where they are not a generator's or not what was
    wished for, and OptionError for averaged weights, which there are none of.
    """
    found = {name: value for name, value in variables.items() if is_wanted(name)}
    names = _names(place, variables, found)
    architecture = _recognise(place, found, names, wishes)
    _check(place, architecture, found, names)
    generator = build_generator(architecture).eval().requires_grad_(requires_grad=False)
    generator.load_state_dict(_converted(generator, found, names))
    size = int(2 ** DOWNS[architecture.netG])
    return Source(
        place=place,
        origin="pix2pix-tensorflow",
        architecture=architecture,
        generator=generator,
        sha256=facts.sha256,
        recognised=_told(architecture),
        height=size,
        width=size,
        gathered=False,
        batch_size=facts.batch_size,
        step=facts.step,
        direction=facts.direction,
        training=facts.training or {},
    )


def _told(architecture: GeneratorConfig) -> str:
    channels = f"{architecture.input_nc} → {architecture.output_nc} channels"
    norm = "batch norm, also at the bottleneck"
    return f"{architecture.netG} of pix2pix-tensorflow, ngf {architecture.ngf}, {channels}, {norm}"


def _names(place: Path, variables: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]) -> Names:
    """Returns the naming that the variables follow."""
    separable = [name for name in found if "/separable_conv2d/" in name]
    if separable:
        raise CheckpointError(
            f"{place} was trained with --separable_conv ({shown(separable[0])}): its decoder enlarges by repeating "
            "pixels, which no generator here does; train it without"
        )
    if not any(_LAYER.match(name) for name in found):
        some = ", ".join(shown(name) for name in sorted(variables)[:3]) or "no variables at all"
        raise CheckpointError(
            f"{place} holds no generator of pix2pix-tensorflow, whose variables are called "
            f"{GENERATOR}encoder_1/{CURRENT.down}/kernel and so on; it has {some}"
        )
    return FIRST if any(name.endswith("/filter") for name in found) else CURRENT


def _recognise(place: Path, found: Mapping[str, NDArray[Any]], names: Names, wishes: Wishes) -> GeneratorConfig:
    """Returns the architecture that the names and shapes tell; raises where it is not the one that was wished for."""
    depth = max(int(match[1]) for name in found if (match := _LAYER.match(name)))
    if depth not in _KINDS:
        raise CheckpointError(
            f"{place} has {depth} layers in its encoder or decoder; a U-Net here has {min(_KINDS)} to {max(_KINDS)}"
        )
    recognised: dict[str, Any] = {
        "netG": _KINDS[depth],
        "norm": "batch",
        "ngf": _ngf(found, depth, names),
        "input_nc": _extent(found, f"encoder_1/{names.down}", 2),
        "output_nc": _extent(found, f"decoder_1/{names.up}", 2),
    }
    _refuse(place, recognised, wishes)
    for flag, value in recognised.items():
        if value is None:
            recognised[flag] = getattr(wishes, flag) or getattr(GeneratorConfig(), flag)
        elif isinstance(value, int) and value > MOST_CHANNELS:
            raise CheckpointError(f"{place}: its kernels tell of {flag} {value}; at most {MOST_CHANNELS} are read")
    return GeneratorConfig(
        **recognised,
        use_dropout=wishes.dropout is not False,
        all_biases=names.bias is not None,
        innermost_norm=True,
    )


def _refuse(place: Path, recognised: Mapping[str, Any], wishes: Wishes) -> None:
    if wishes.weights == "ema":
        raise OptionError(f"--weights ema: {place} holds no averaged weights; leave the option out")
    differ = [
        f"{flag} {value}, not {getattr(wishes, flag)}"
        for flag, value in recognised.items()
        if None not in {value, getattr(wishes, flag)} and value != getattr(wishes, flag)
    ]
    if differ:
        raise CheckpointError(f"{place}: its variables tell of {'; '.join(differ)}; leave the option out")


def _ngf(found: Mapping[str, NDArray[Any]], depth: int, names: Names) -> int | None:
    """Returns the first layer's filters, told by whichever kernel of the encoder is there."""
    for i in range(depth):
        filters = _extent(found, f"encoder_{i + 1}/{names.down}", 3)
        if filters is not None:
            return max(filters // min(1 << i, WIDEST), 1)
    return None


def _extent(found: Mapping[str, NDArray[Any]], layer: str, axis: int) -> int | None:
    kernel = found.get(f"{GENERATOR}{layer}/{_kernel(layer)}")
    return int(kernel.shape[axis]) if kernel is not None and kernel.ndim == 4 and kernel.size else None


def _kernel(layer: str) -> str:
    return "filter" if layer.rpartition("/")[2] in {FIRST.down, FIRST.up} else "kernel"


def _pairs(parameters: Iterable[str], names: Names) -> Iterator[tuple[str, str]]:
    """Yields, for each of the network's parameters that has one, its name here and the variable's there."""
    scopes = {"down": ("encoder", names.down), "up": ("decoder", names.up)}
    for name in parameters:
        block, part, kind = name.split(".")
        side = block.rstrip("0123456789")
        coder, conv = scopes[side]
        scope = f"{GENERATOR}{coder}_{block.removeprefix(side)}"
        if part == "norm":
            yield name, f"{scope}/{names.norm}/{names.scale if kind == 'weight' else names.shift}"
        elif kind == "weight":
            yield name, f"{scope}/{conv}/{_kernel(conv)}"
        elif names.bias is not None:
            yield name, f"{scope}/{conv}/{names.bias}"


def _check(place: Path, architecture: GeneratorConfig, found: Mapping[str, NDArray[Any]], names: Names) -> None:
    """Raises one error that lists every variable that does not fit, before memory is taken for the network."""
    with torch.device("meta"):
        parameters = dict(build_generator(architecture).named_parameters())
        pairs = dict(_pairs(parameters, names))
    problems = [f"unexpected {shown(there)}" for there in sorted(set(found) - set(pairs.values()))]
    for here, there in pairs.items():
        value = found.get(there)
        fault = f"missing {there}" if value is None else _fault(there, value, _shape_there(parameters[here]))
        if fault:
            problems.append(fault)
    if problems:
        raise CheckpointError(f"{place}: {'; '.join(problems)}")


def _converted(generator: nn.Module, found: Mapping[str, NDArray[Any]], names: Names) -> dict[str, Tensor]:
    """Returns the network's whole state, where the first versions have no biases zeros for them."""
    state: dict[str, Tensor] = dict(generator.state_dict())
    state |= {name: torch.zeros_like(tensor) for name, tensor in state.items() if name.endswith("conv.bias")}
    pairs = _pairs(dict(generator.named_parameters()), names)
    return state | {here: _tensor(found[there], here, generator) for here, there in pairs}


def _shape_there(tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return tuple(shape[axis] for axis in (2, 3, 1, 0)) if len(shape) == 4 else shape


def _fault(name: str, value: NDArray[Any], wanted: tuple[int, ...]) -> str | None:
    if not np.issubdtype(value.dtype, np.floating):
        return f"{name} holds {value.dtype}, not floating point numbers"
    if value.shape != wanted:
        return f"{name} is {list(value.shape)} and should be {list(wanted)}"
    return None if np.isfinite(value).all() else f"{name} holds NaN or infinity"


def _tensor(value: NDArray[Any], name: str, generator: nn.Module) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32).copy())
    if tensor.ndim == 1:
        return tensor
    tensor = tensor.permute(3, 2, 0, 1).contiguous()  # [out, in, h, w]; of a transposed convolution [in, out, h, w]
    is_up = name.startswith("up")
    # The skip comes after the decoder's own channels there and before them here; they are equally many.
    return tensor.roll(len(tensor) // 2, dims=0) if is_up and name != f"up{generator.depth}.conv.weight" else tensor


def shown(name: str) -> str:
    """Returns a name from a file as it may stand in a message: short, and without what moves a terminal's cursor."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= 100 else f"{printable[:97]}..."
