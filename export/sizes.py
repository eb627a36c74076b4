"""Which sizes a graph takes: `--size auto`, `dynamic` or HEIGHTxWIDTH."""

from __future__ import annotations

from typing import NamedTuple

from export.errors import OptionError
from train.models import GeneratorConfig, size_multiple, smallest_size


class Sizes(NamedTuple):
    """The size that a graph is made for, in pixels; with `multiple` above 0 it takes all multiples from `smallest`."""

    height: int
    width: int
    multiple: int
    smallest: int


def choose(wanted: str, architecture: GeneratorConfig, height: int, width: int) -> Sizes:
    """Returns the sizes for a generator that was trained at `height` x `width`.

    With "auto", residual generators take any size and U-Nets the one of their training: what their innermost layers
    learned is a whole picture of that size. Raises OptionError for a size that the generator cannot take.
    """
    multiple, smallest = size_multiple(architecture), smallest_size(architecture)
    if wanted in {"auto", "dynamic"}:
        free = wanted == "dynamic" or not architecture.netG.startswith("unet")
        return Sizes(height, width, multiple if free else 0, smallest if free else 0)
    height, width = map(int, wanted.split("x"))
    if height % multiple or width % multiple or min(height, width) < smallest:
        raise OptionError(
            f"--size {wanted}: {architecture.netG} takes multiples of {multiple} from {smallest}; the nearest is "
            f"{_nearest(height, multiple, smallest)}x{_nearest(width, multiple, smallest)}"
        )
    return Sizes(height, width, 0, 0)


def _nearest(side: int, multiple: int, smallest: int) -> int:
    return max(smallest, (side + multiple // 2) // multiple * multiple)
