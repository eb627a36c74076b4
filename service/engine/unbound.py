"""Runs of any size, straight from arrays to arrays: the cheapest way on the CPU, and the one for sizes that vary."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from service.engine.batch import Prepared, fill, fill_seeds
from service.engine.contract import INPUT, OUTPUT, SEED
from service.engine.turnstile import gpu
from service.errors import InferenceFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime  # type: ignore[import-untyped]

    from service.engine.contract import Pixels


class UnboundRuns:
    """Runs a session that any number of threads may share: nothing is kept between runs."""

    stages = False
    settling = 1

    def __init__(self, session: onnxruntime.InferenceSession, *, on_gpu: bool = False) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._let_through = gpu.shared if on_gpu else nullcontext

    def prepare(self, rows: Sequence[Pixels], bucket: int, seeds: Sequence[int] = ()) -> Prepared:
        """Put the pictures together; a single one is not copied."""
        if len(rows) == bucket == 1:
            return Prepared(rows[0][np.newaxis], 1, fill_seeds(seeds, 1))
        pixels = np.empty((bucket, *rows[0].shape), rows[0].dtype)
        fill(rows, pixels)
        return Prepared(pixels, len(rows), fill_seeds(seeds, bucket))

    def discard(self, prepared: Prepared) -> None:
        """Do nothing: no buffer is lent."""

    def run(self, prepared: Prepared) -> list[Pixels]:
        """Return the translations of the rows; raises InferenceFailed."""
        session = self._session
        if session is None:
            raise InferenceFailed("the engine is closed")
        feed = {INPUT: prepared.pixels} if prepared.seeds is None else {INPUT: prepared.pixels, SEED: prepared.seeds}
        try:
            with self._let_through():
                (translations,) = session.run([OUTPUT], feed)
        except Exception as error:
            # ONNX Runtime's exceptions share no base but this one.
            raise InferenceFailed("the engine failed on this picture") from error
        return list(translations[: prepared.rows])

    def close(self) -> None:
        """Free the session once its last run is over."""
        self._session = None
