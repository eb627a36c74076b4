"""Which size a picture is brought to, and what a caller is told whose picture has none that the model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from service.errors import InvalidPicture
from service.picture.fit import Fit

if TYPE_CHECKING:
    from collections.abc import Callable


class SizedShape(Protocol):
    """The sizes that a model takes, in pixels.

    Where `multiple` is 0 that is height x width alone. Otherwise both may be any multiples of it from `smallest` on,
    and height x width is the size that the model was made for.
    """

    @property
    def height(self) -> int: ...  # noqa: D102

    @property
    def width(self) -> int: ...  # noqa: D102

    @property
    def multiple(self) -> int: ...  # noqa: D102

    @property
    def smallest(self) -> int: ...  # noqa: D102


def target_size(how: Fit, height: int, width: int, shape: SizedShape) -> tuple[int, int]:
    """Returns the height and width that a picture of height x width is brought to.

    That is the model's size, and TILE's tiles have it always. For a model that takes many, it is the picture's own,
    brought to the model's multiples: the nearest for STRETCH (of two the larger), the next larger for PAD, the next
    smaller for CROP, never below the smallest. Raises InvalidPicture for NONE where the model does not take the size.
    """
    if how is Fit.TILE:
        return shape.height, shape.width
    if how is Fit.NONE:
        _check(height, width, shape)
        return height, width
    if not shape.multiple:
        return shape.height, shape.width
    bring = _BRINGS[how]
    return bring(height, shape), bring(width, shape)


def described(shape: SizedShape) -> str:
    """Returns the sizes that a model takes, in words."""
    if not shape.multiple:
        return f"{shape.width:,} x {shape.height:,} pixels alone"
    return f"sides of any multiple of {shape.multiple:,} pixels from {_least(shape):,} on"


def _check(height: int, width: int, shape: SizedShape) -> None:
    if shape.multiple:
        is_taken = all(side == _nearest(side, shape) for side in (height, width))
    else:
        is_taken = (height, width) == (shape.height, shape.width)
    if not is_taken:
        raise InvalidPicture(
            f"the picture is {width:,} x {height:,} pixels; the model takes {described(shape)}"
            f"{_neighbours(height, width, shape)}: send such a picture, or let another fit than NONE bring it there"
        )


def _neighbours(height: int, width: int, shape: SizedShape) -> str:
    """Names the next smaller and the next larger size, where there are many."""
    if not shape.multiple:
        return ""
    sizes = {(bring(height, shape), bring(width, shape)): None for bring in (_smaller, _larger)}
    named = " and ".join(f"{wide:,} x {high:,}" for high, wide in sizes)
    return f", the nearest being {named}"


def _nearest(side: int, shape: SizedShape) -> int:
    return max(_least(shape), (2 * side + shape.multiple) // (2 * shape.multiple) * shape.multiple)


def _larger(side: int, shape: SizedShape) -> int:
    return max(_least(shape), -(-side // shape.multiple) * shape.multiple)


def _smaller(side: int, shape: SizedShape) -> int:
    return max(_least(shape), side // shape.multiple * shape.multiple)


def _least(shape: SizedShape) -> int:
    """Returns the smallest side that there is: a multiple, whatever `smallest` says."""
    return max(1, -(-shape.smallest // shape.multiple)) * shape.multiple


_BRINGS: dict[Fit, Callable[[int, SizedShape], int]] = {Fit.STRETCH: _nearest, Fit.PAD: _larger, Fit.CROP: _smaller}
