"""One model on all lanes."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from service.engine.batch import Prepared, Sample
from service.engine.buckets import choose_buckets
from service.engine.contract import read_contract
from service.engine.lanes import Plan, build, build_on_cpu, build_on_gpu
from service.engine.providers import TENSORRT
from service.engine.session import DeviceUnavailable, open_session, read_only_session
from service.engine.timing import run_alike, seconds_of_run, settle
from service.errors import InferenceFailed, StartupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from service.engine.contract import Pixels
    from service.engine.options import EngineOptions
    from service.engine.placement import Placement

__all__ = ["Engine", "Prepared"]

# Levels of 255 by which a GPU may differ from itself: its sums are not always added up in the same order.
_GPU_TOLERANCE = 2
# Seconds that may be spent before the first request on a picture of the largest size.
_AFFORDABLE = 2.0


class Engine:
    """A model in ONNX Runtime, on every lane; all methods block, and may be called for different lanes at once.

    On one lane `prepare`, `discard` and one `run` may go on at the same time. `buckets` are the sizes that a run may
    have, ascending; `max_queue_delay`, in seconds, is what the model's metadata ask for. `gpu_mode` says how a CUDA
    device is driven ("graphs" or "sessions"), and is "" elsewhere and for models of any size. `digest` is the SHA-256
    of the file, in hexadecimal.
    """

    def __init__(self, path: Path, placement: Placement, options: EngineOptions) -> None:
        """Load the model onto the lanes.

        Raises StartupError when the file is no model under the contract, and DeviceUnavailable when the model would not
        run on the device of a lane.
        """
        lane = placement.lanes[0]
        first = read_only_session(path) if placement.on_gpu else open_session(path, lane.device, lane.threads)
        self.contract = read_contract(path, first)
        self.input, self.output = self.contract.input, self.contract.output
        self.description = self.contract.description
        self.digest = _digest(path)
        self._buckets = choose_buckets(options, self.description.batching, on_gpu=placement.on_gpu)
        self._blank = self._sample(self.input.height, self.input.width)
        self._plan = Plan(path, self.digest, self.contract, self._buckets, options)
        self._placement = placement
        built = (
            build_on_gpu(self._plan, placement.lanes, self._blank)
            if placement.on_gpu
            else build_on_cpu(self._plan, placement.lanes, first)
        )
        self._lanes, self.gpu_mode, self.provider = built.lanes, built.gpu_mode, built.provider
        self._expected: Pixels | None = None

    @property
    def takes_seed(self) -> bool:
        """Whether a seed goes in with every picture."""
        return self.contract.takes_seed

    @property
    def longest_side(self) -> float:
        """The longest side of a picture, in pixels, that what runs the model is ready for; infinity where any is."""
        return self._plan.longest_side if self.provider == TENSORRT and self.input.any_size else math.inf

    @property
    def on_gpu(self) -> bool:
        """Whether the model runs on a GPU."""
        return self._placement.on_gpu

    @property
    def lanes(self) -> int:
        """How many lanes there are; they are numbered from 0."""
        return len(self._lanes)

    @property
    def stages(self) -> bool:
        """Whether it pays to prepare the next batch of a lane while one runs there."""
        return self._lanes[0].stages

    @property
    def buckets(self) -> tuple[int, ...]:
        """The sizes that a run may have, ascending; the last is the largest batch."""
        return self._buckets.sizes

    @property
    def max_queue_delay(self) -> float:
        """Seconds that the model's metadata let a free engine wait for a batch to fill up; 0 where they say nothing."""
        return self.description.batching.max_queue_delay

    @property
    def metadata_json(self) -> str:
        """What the model says about itself, as JSON, but for its fingerprint; "" where it says nothing."""
        return self.description.text

    def warm_up(self) -> dict[int, float]:
        """Run blank pictures on all lanes at once; return the seconds of a run by size.

        Every bucket is run, so that memory is allocated, kernels are chosen and graphs are recorded before the first
        request; where any size will do, a few. Raises InferenceFailed when a run fails.
        """
        sizes, lanes = self._buckets.to_warm, self._lanes
        with ThreadPoolExecutor(self.lanes) as threads:
            list(threads.map(lambda runs: settle(runs, self._blank, sizes), lanes))
            seconds = {
                size: fmean(threads.map(lambda runs, size=size: seconds_of_run(runs, self._blank, size), lanes))
                for size in sizes
            }
        self._expected = self._answer()
        return seconds

    def try_other_sizes(self, seconds: float) -> dict[tuple[int, int], float]:
        """Run a blank picture of a small size, and one of the largest; return the seconds by height and width.

        So the first request of another size than `warm_up` ran meets no surprise. The largest is left out where it
        would take too long, judged by the `seconds` of a single picture. For a model of one size there is nothing to
        do. Raises StartupError when a run fails, or makes a picture of another size than it should.
        """
        if not self.input.any_size:
            return {}
        given, most = self.input, self._plan.options.max_model_pixels
        usual = given.height * given.width
        side = math.isqrt(most) // given.multiple * given.multiple
        small, large = (given.smallest, given.smallest + given.multiple), (side, side)
        sizes = [small] if small[0] * small[1] <= max(most, usual) else []
        if usual < side * side <= usual * _AFFORDABLE / seconds:
            sizes.append(large)
        return {size: self._try(size) for size in sizes}

    def _try(self, size: tuple[int, int]) -> float:
        runs, sample, one = self._lanes[0], self._sample(*size), self._buckets.sizes[0]
        shown = "{} x {}".format(*size)
        try:
            made = run_alike(runs, sample, one)
        except InferenceFailed as error:
            cause = " ".join(str(error.__cause__ or error).split())
            raise StartupError(
                f"the model fails on a blank picture of {shown}, a size that it takes by its metadata and by "
                f"--max-model-pixels: {cause}"
            ) from error
        expected = (*self.contract.made_size(*size), self.output.channels)
        if made.shape != expected:
            raise StartupError(f"the model makes {list(made.shape)} of {shown}; expected {list(expected)}")
        return seconds_of_run(runs, sample, one) / one

    def prepare(self, lane: int, rows: Sequence[Pixels], bucket: int, seeds: Sequence[int] = ()) -> Prepared:
        """Put pictures [H, W, C] of one size together as one of the buckets, filling up with copies of the last one.

        `seeds` has one for each where the model takes any. May go on while the lane runs another batch. What is
        prepared must be run or discarded.
        """
        return self._lanes[lane].prepare(rows, bucket, seeds)

    def discard(self, lane: int, prepared: Prepared) -> None:
        """Take back what was prepared and will not be run."""
        self._lanes[lane].discard(prepared)

    def run(self, lane: int, prepared: Prepared) -> list[Pixels]:
        """Return the translations of the rows, in order; raises InferenceFailed, whose cause is for the log alone."""
        return self._lanes[lane].run(prepared)

    def is_sound(self, lane: int) -> bool:
        """Run the blank picture again; tells whether it comes out as in warm-up, or else the engine is broken."""
        try:
            made = self._run_blank(lane)
        except InferenceFailed:
            return False
        return self._expected is None or self._same(made, self._expected)

    def rebuild(self, lane: int) -> None:
        """Give a lane a new session, warm; other lanes go on meanwhile, and those that shared the old one take the new.

        Raises StartupError or InferenceFailed when that fails or the new one is not sound; it may be tried again.
        """
        broken = self._lanes[lane]
        if self.on_gpu:
            broken.close()  # there may be no room for two
        try:
            new = build(self._plan, self._placement.lanes[lane], self.gpu_mode)
        except DeviceUnavailable as error:
            raise StartupError(str(error)) from error
        try:
            settle(new, self._blank, self._buckets.to_warm)
        except InferenceFailed:
            new.close()
            raise
        # The old one may be in use on other lanes yet: it ends when the last of them lets go of it.
        for index, runs in enumerate(self._lanes):
            if runs is broken:
                self._lanes[index] = new
        if not self.is_sound(lane):
            raise InferenceFailed("the engine was built anew and does not give the answers of before")

    def close(self) -> None:
        """Free the sessions and buffers; runs that go on end first, later ones fail."""
        for runs in self._lanes:
            runs.close()

    def _answer(self) -> Pixels | None:
        """Return what the blank picture is translated to, or None when that is another each time."""
        first, again = (self._run_blank(0) for _ in range(2))
        # A model that draws random numbers is sound when it runs at all.
        return first if self._same(first, again) else None

    def _sample(self, height: int, width: int) -> Sample:
        return Sample(self.input.blank(height, width), 0 if self.takes_seed else None)

    def _run_blank(self, lane: int) -> Pixels:
        return run_alike(self._lanes[lane], self._blank, self.buckets[0])

    def _same(self, one: Pixels, other: Pixels) -> bool:
        difference = np.abs(one.astype(np.int32) - other.astype(np.int32))
        level = np.iinfo(one.dtype).max // 255
        return int(difference.max()) <= (_GPU_TOLERANCE * level if self.on_gpu else 0)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
