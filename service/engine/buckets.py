"""Which sizes a batch may have: settings win over the model's metadata, and that over what suits the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.engine.options import EngineOptions
    from service.models.metadata import Batching

# What a batch gains on the CPU is little (the cores are busy with one picture), and it makes everybody wait.
_LARGEST_ON_CPU, _LARGEST_ON_GPU = 1, 8


@dataclass(frozen=True)
class Buckets:
    """Sizes in rising order; `padded` where buffers are made for these and a smaller batch is filled up."""

    sizes: tuple[int, ...]
    padded: bool

    @property
    def to_warm(self) -> tuple[int, ...]:
        """The sizes to be run before the first request: all that are padded to, else a few that show the trend."""
        return self.sizes if self.padded else powers_of_two(self.sizes[-1])


def choose_buckets(options: EngineOptions, wishes: Batching, *, on_gpu: bool) -> Buckets:
    """Return the sizes that a run may have."""
    if options.buckets:
        return Buckets(options.buckets, padded=True)
    most = options.max_batch_size or wishes.max_batch_size or (wishes.buckets[-1] if wishes.buckets else 0)
    most = most or (_LARGEST_ON_GPU if on_gpu else _LARGEST_ON_CPU)
    if wishes.buckets:
        return Buckets((*(size for size in wishes.buckets if size < most), most), padded=True)
    if on_gpu:
        return Buckets(powers_of_two(most), padded=True)
    return Buckets(tuple(range(1, most + 1)), padded=False)


def powers_of_two(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, … below `most`, and `most`."""
    return (*(1 << power for power in range((most - 1).bit_length())), most)
