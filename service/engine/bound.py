"""Runs of fixed sizes over buffers that are made once: how a GPU is driven, and a CPU that is told to use buckets."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from service.engine.batch import Prepared, fill, fill_seeds
from service.engine.contract import INPUT, OUTPUT, SEED
from service.engine.providers import split_device
from service.engine.turnstile import gpu
from service.errors import InferenceFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import DTypeLike

    from service.engine.batch import Seeds
    from service.engine.contract import Contract, PictureShape, Pixels

# One batch runs while one is prepared.
_SPARE = 2
# ONNX Runtime records a CUDA graph in the third run of a size at the latest: two allocate what the graph then uses.
RUNS_TO_RECORD = 3


class BoundRuns:
    """Runs sessions over buffers on the device, one set per bucket, in a thread of its own; pictures of one size.

    `sessions` has one for every bucket; they may all be the same. Where CUDA graphs are recorded it must be: a graph
    belongs to the thread that recorded it, and to the addresses it saw.
    """

    stages = True

    def __init__(
        self,
        device: str,
        sessions: Mapping[int, onnxruntime.InferenceSession],
        contract: Contract,
        staging: Callable[[tuple[int, ...], DTypeLike], Pixels],
        *,
        graphs: bool = False,
    ) -> None:
        self.settling = RUNS_TO_RECORD if graphs else 1
        self._given = contract.input
        self._staging = staging
        self._spare: dict[int, deque[Pixels]] = {bucket: deque(maxlen=_SPARE) for bucket in sessions}
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lane-{device}")
        self._bound = {
            bucket: _Bound(device, session, bucket, contract, graphs=graphs) for bucket, session in sessions.items()
        }

    def prepare(self, rows: Sequence[Pixels], bucket: int, seeds: Sequence[int] = ()) -> Prepared:
        """Copy the pictures into a buffer that the device can read, and fill up to the bucket."""
        spare = self._spare[bucket]
        try:
            pixels = spare.pop()
        except IndexError:
            pixels = self._staging(_shape(bucket, self._given), self._given.dtype)
        fill(rows, pixels)
        return Prepared(pixels, len(rows), fill_seeds(seeds, bucket))

    def discard(self, prepared: Prepared) -> None:
        """Take the buffer back."""
        spare = self._spare[len(prepared.pixels)]
        if not any(pixels is prepared.pixels for pixels in spare):  # lent to two, one would overwrite the other
            spare.append(prepared.pixels)

    def run(self, prepared: Prepared) -> list[Pixels]:
        """Return the translations of the rows, and take the buffer back; raises InferenceFailed."""
        try:
            translations = self._thread.submit(self._run, prepared).result()
        except Exception as error:
            # ONNX Runtime's exceptions share no base but this one.
            raise InferenceFailed("the engine failed on this picture") from error
        finally:
            self.discard(prepared)
        return list(translations[: prepared.rows])

    def close(self) -> None:
        """Free the sessions and buffers; in the thread that made use of them."""
        if not self._closed:
            self._closed = True
            self._thread.submit(self._free)
            self._thread.shutdown()

    def _free(self) -> None:
        with gpu.shared():
            self._bound.clear()

    def _run(self, prepared: Prepared) -> Pixels:
        return self._bound[len(prepared.pixels)].run(prepared.pixels, prepared.seeds)


class _Bound:
    """A session with buffers for batches of one size."""

    def __init__(
        self, device: str, session: onnxruntime.InferenceSession, bucket: int, contract: Contract, *, graphs: bool
    ) -> None:
        self._session = session
        self._on_cpu = device == "cpu"
        given, made = contract.input, contract.output
        self._input = _buffer(device, _shape(bucket, given), given.dtype)
        self._output = _buffer(device, _shape(bucket, made), made.dtype)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._input)
        self._binding.bind_ortvalue_output(OUTPUT, self._output)
        self._seeds: onnxruntime.OrtValue | None = None
        if contract.takes_seed:
            self._seeds = _buffer(device, (bucket,), np.int64)
            self._binding.bind_ortvalue_input(SEED, self._seeds)
        self._options = onnxruntime.RunOptions()
        if graphs:
            self._options.add_run_config_entry("gpu_graph_id", str(bucket))
        self._to_record = RUNS_TO_RECORD if graphs else 0

    def run(self, pixels: Pixels, seeds: Seeds | None) -> Pixels:
        """Return what the session makes of a full batch."""
        with gpu.alone() if self._to_record else gpu.shared():
            self._input.update_inplace(pixels)
            if self._seeds is not None:
                self._seeds.update_inplace(seeds)
            self._session.run_with_iobinding(self._binding, self._options)
            self._binding.synchronize_outputs()
            translations: Pixels = self._output.numpy()
        self._to_record = max(0, self._to_record - 1)
        # On the CPU that was the buffer itself, elsewhere a copy of it.
        return translations.copy() if self._on_cpu else translations


def _shape(bucket: int, picture: PictureShape) -> tuple[int, ...]:
    return bucket, picture.height, picture.width, picture.channels


def _buffer(device: str, shape: tuple[int, ...], dtype: DTypeLike) -> onnxruntime.OrtValue:
    kind, index = split_device(device)
    place = "cpu" if kind == "cpu" else "cuda"
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype).type, place, index)
