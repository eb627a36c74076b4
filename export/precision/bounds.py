"""How far a precision may be from PyTorch's fp32, by what was measured on trained and on random networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from export.metadata import Precision, Samples


class Bounds(NamedTuple):
    """The largest and the mean difference from PyTorch's fp32 to accept, in levels of 255, and the least PSNR in dB.

    A PSNR of 0 asks for nothing.
    """

    largest: float
    mean: float
    psnr: float = 0.0


# With 8 bits, fp32 differs only where a value falls on the edge between two levels; a mean beyond that would be a
# rounding mistake. An integer graph may miss a pixel on an edge of the drawing by much while the picture is near: the
# mean and the PSNR hold the picture, and the largest is there to find a pixel that is simply wrong.
BOUNDS: dict[Precision, Bounds] = {
    "fp32": Bounds(1, 0.02),
    "fp16-weights": Bounds(4, 0.1),
    "fp16": Bounds(8, 0.2, 50),
    "int8": Bounds(128, 4, 30),
}
# 16 bits show what 8 hide: the sums themselves, a hundredth of a level of 255 apart at the most.
BOUNDS_16: dict[Precision, Bounds] = {
    "fp32": Bounds(0.1, 0.005, 80),
    "fp16-weights": Bounds(4, 0.1),
    "fp16": Bounds(8, 0.2, 50),
    "int8": Bounds(128, 4, 30),
}


def bounds(precision: Precision, largest: float | None, dtype: Samples = "uint8") -> Bounds:
    """Returns the precision's bounds for pictures of that type, the largest difference replaced where one is given.

    Who accepts more than the precision's own bound is not held to its mean and PSNR either.
    """
    chosen = (BOUNDS_16 if dtype == "uint16" else BOUNDS)[precision]
    if largest is None:
        return chosen
    return chosen._replace(largest=largest) if largest <= chosen.largest else Bounds(largest, largest)
