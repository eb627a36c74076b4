"""What a graph must look like to be served: unsigned bytes [N, H, W, C] in (`image`) and out (`translation`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INPUT, OUTPUT = "image", "translation"


@dataclass(frozen=True)
class PictureShape:
    """Height and width in pixels, and channels."""

    height: int
    width: int
    channels: int

    @property
    def nbytes(self) -> int:
        """Bytes of one picture."""
        return self.height * self.width * self.channels


class Node(Protocol):
    """An input or output of a graph, as ONNX Runtime describes it: dynamic dimensions are names or None."""

    name: str
    type: str
    shape: list[int | str | None]


def picture_shape(path: Path, kind: str, nodes: Sequence[Node], name: str) -> PictureShape:
    """Return the shape of the graph's only input or output (`kind`); raises StartupError unless it is as agreed."""
    if [node.name for node in nodes] != [name]:
        found = ", ".join(node.name for node in nodes)
        raise StartupError(f"{path}: the graph's {kind}s are {found or 'none'}; expected one called {name}")
    node = nodes[0]
    if node.type != "tensor(uint8)":
        raise StartupError(f"{path}: the {kind} {name} is {node.type}; expected tensor(uint8)")
    match node.shape:
        case [str() | None, int(height), int(width), int(channels)] if min(height, width, channels) > 0:
            return PictureShape(height, width, channels)
    shape = ", ".join(str(side) for side in node.shape)
    raise StartupError(f"{path}: the {kind} {name} is [{shape}]; expected [N, height, width, channels], only N free")
