"""What a graph must look like to be served: samples of pictures [N, H, W, C] in (`image`) and out (`translation`).

Height and width may be free; the model's metadata then say which sizes it takes. A graph whose noise is an input takes
one `seed` a row as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from service.errors import StartupError
from service.models.metadata import KEY, read_description

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from service.models.metadata import Described, Description

    Pixels = NDArray[np.unsignedinteger[Any]]

Samples = Literal["uint8", "uint16"]

INPUT, OUTPUT, SEED = "image", "translation", "seed"

_SAMPLES: Mapping[str, Samples] = {"tensor(uint8)": "uint8", "tensor(uint16)": "uint16"}


@dataclass(frozen=True)
class PictureShape:
    """Height and width in pixels, channels, and the kind of the samples.

    Where `multiple` is 0 that is the only size. Otherwise height and width may be any multiples of it that are not
    below `smallest`, and `height` and `width` say which size the model was made for.
    """

    height: int
    width: int
    channels: int
    dtype: Samples = "uint8"
    multiple: int = 0
    smallest: int = 0

    @property
    def any_size(self) -> bool:
        """Whether there is more than one size."""
        return self.multiple > 0

    @property
    def nbytes(self) -> int:
        """Bytes of one picture of the size that the model was made for."""
        return self.nbytes_at(self.height, self.width)

    def nbytes_at(self, height: int, width: int) -> int:
        """Return the bytes of one picture of that size."""
        return height * width * self.channels * np.dtype(self.dtype).itemsize

    def accepts(self, height: int, width: int) -> bool:
        """Return whether a picture may have that size."""
        if not self.any_size:
            return (height, width) == (self.height, self.width)
        sides = (height, width)
        return min(sides) >= max(1, self.smallest) and not any(side % self.multiple for side in sides)

    def blank(self, height: int = 0, width: int = 0) -> Pixels:
        """Return a black picture, of the size that the model was made for unless told otherwise."""
        return np.zeros((height or self.height, width or self.width, self.channels), self.dtype)


@dataclass(frozen=True)
class Contract:
    """What a model takes and gives, whether it takes seeds, and what it says about itself."""

    input: PictureShape
    output: PictureShape
    takes_seed: bool
    description: Description

    def made_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of what is made of a picture of that size."""
        given, made = self.input, self.output
        return height * made.height // given.height, width * made.width // given.width


class Node(Protocol):
    """An input or output of a graph, as ONNX Runtime describes it: dynamic dimensions are names or None."""

    name: str
    type: str
    shape: list[int | str | None]


class Session(Protocol):
    """The part of ONNX Runtime's session that tells what a graph looks like."""

    def get_inputs(self) -> Sequence[Node]: ...  # noqa: D102

    def get_outputs(self) -> Sequence[Node]: ...  # noqa: D102

    def get_modelmeta(self) -> Meta: ...  # noqa: D102


class Meta(Protocol):
    """What a file carries besides its graph."""

    custom_metadata_map: Mapping[str, str]


def read_contract(path: Path, session: Session) -> Contract:
    """Return what the model takes and gives; raises StartupError unless graph and metadata are as agreed."""
    inputs = {node.name: node for node in session.get_inputs()}
    if INPUT not in inputs or set(inputs) - {INPUT, SEED}:
        raise StartupError(
            f"{path}: the graph's inputs are {_names(inputs)}; expected one called {INPUT}, and one called {SEED} "
            "where it takes its noise from there"
        )
    outputs = {node.name: node for node in session.get_outputs()}
    if set(outputs) != {OUTPUT}:
        raise StartupError(f"{path}: the graph's outputs are {_names(outputs)}; expected one called {OUTPUT}")
    given, made = _read(path, "input", inputs[INPUT]), _read(path, "output", outputs[OUTPUT])
    if SEED in inputs:
        _check_seed(path, inputs[SEED])
    if given.is_free != made.is_free:
        free, fixed = ("input", "output") if given.is_free else ("output", "input")
        raise StartupError(f"{path}: the {free}'s height and width are free and the {fixed}'s are not; expected both")
    description = read_description(path, session.get_modelmeta().custom_metadata_map)
    _check_noise(path, description, takes_seed=SEED in inputs)
    return Contract(
        _settle(path, "input", given, description.input),
        _settle(path, "output", made, description.output),
        SEED in inputs,
        description,
    )


@dataclass(frozen=True)
class _Side:
    """An input or output as the graph has it; height and width are 0 where they are free."""

    height: int
    width: int
    channels: int
    dtype: Samples

    @property
    def is_free(self) -> bool:
        return not self.height

    def __str__(self) -> str:
        size = "any size" if self.is_free else f"{self.height} x {self.width}"
        return f"{size}, {self.channels} channel{'s' * (self.channels > 1)} of {self.dtype}"


def _read(path: Path, kind: str, node: Node) -> _Side:
    samples = _SAMPLES.get(node.type)
    if samples is None:
        raise StartupError(f"{path}: the {kind} {node.name} is {node.type}; expected {' or '.join(_SAMPLES)}")
    match node.shape:
        case [str() | None, int(height), int(width), int(channels)] if min(height, width, channels) > 0:
            return _Side(height, width, channels, samples)
        case [str() | None, str() | None, str() | None, int(channels)] if channels > 0:
            return _Side(0, 0, channels, samples)
    raise StartupError(
        f"{path}: the {kind} {node.name} is {_shown(node)}; expected [N, height, width, channels], only N free, "
        "or N, height and width"
    )


def _check_seed(path: Path, node: Node) -> None:
    match node.type, node.shape:
        case "tensor(int64)", [str() | None]:
            return
    raise StartupError(f"{path}: the input {SEED} is {node.type} {_shown(node)}; expected tensor(int64) [N], N free")


def _check_noise(path: Path, description: Description, *, takes_seed: bool) -> None:
    if description.noise and (description.noise == "seeded") != takes_seed:
        found = "an" if takes_seed else "no"
        raise StartupError(
            f"{path}: metadata {KEY!r}: noise is {description.noise!r}, but the graph has {found} input {SEED}"
        )


def _settle(path: Path, kind: str, side: _Side, described: Described | None) -> PictureShape:
    """Return what the graph and the metadata say together; raises StartupError where they contradict each other."""
    if described is None:
        if side.is_free:
            raise StartupError(
                f"{path}: the {kind}'s height and width are free, and the file does not say which it takes; expected "
                f"metadata {KEY!r} with height, width, multiple and smallest of its {kind}"
            )
        return PictureShape(side.height, side.width, side.channels, side.dtype)
    sizes = (0, 0) if described.multiple else (described.height, described.width)
    if _Side(*sizes, described.channels, described.dtype) != side:
        raise StartupError(f"{path}: metadata {KEY!r}: {kind} is described as {described}, but the graph's is {side}")
    multiple = described.multiple
    smallest = -(-max(described.smallest, 1) // multiple) * multiple if multiple else 0
    shape = PictureShape(
        described.height, described.width, side.channels, side.dtype, multiple=multiple, smallest=smallest
    )
    if not shape.accepts(shape.height, shape.width):
        raise StartupError(
            f"{path}: metadata {KEY!r}: {kind} is made for {shape.height} x {shape.width}, which is no size that it "
            f"takes: multiples of {shape.multiple} from {shape.smallest}"
        )
    return shape


def _names(nodes: Mapping[str, Node]) -> str:
    return ", ".join(nodes) or "none"


def _shown(node: Node) -> str:
    return f"[{', '.join(str(side) for side in node.shape)}]"
