"""A request's way through the service, whichever edge it came in by."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from service.picture.decode import check, decode, from_raw
from service.picture.encode import check_output, encode
from service.picture.fit import fit, restore

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    import numpy as np
    from numpy.typing import NDArray

    from service.engine.contract import PictureShape
    from service.engine.session import Engine
    from service.metrics import Metrics
    from service.picture.encode import Format
    from service.picture.fit import Fit, Placement
    from service.picture.limits import Limits
    from service.registry import ModelVersion

    Pixels = NDArray[np.uint8]

T = TypeVar("T")


@dataclass(frozen=True)
class RawPicture:
    """Bare pixels: unsigned bytes, row by row, the channels of a pixel side by side."""

    data: bytes
    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Order:
    """A picture, an encoded file or bare pixels, and what is wanted of it; `deadline` is on the monotonic clock."""

    picture: bytes | RawPicture
    fit: Fit
    format: Format
    quality: int
    at_input_size: bool
    deadline: float = math.inf

    @property
    def nbytes(self) -> int:
        """Bytes of the picture as it was sent."""
        return len(self.picture.data if isinstance(self.picture, RawPicture) else self.picture)


@dataclass(frozen=True)
class Timings:
    """Seconds that each stage took, and how many pictures went through the engine together."""

    decode: float
    queue: float
    infer: float
    encode: float
    batch_size: int


@dataclass(frozen=True)
class Translation:
    """The picture in the format that was asked for, its dimensions in pixels, and how it came to be."""

    data: bytes
    height: int
    width: int
    channels: int
    timings: Timings


class Translator:
    """Admits, decodes, queues, infers and encodes; the one way from an order to a translation."""

    def __init__(self, limits: Limits, codec: Executor, metrics: Metrics) -> None:
        self._limits = limits
        self._codec = codec
        self._metrics = metrics

    async def translate(self, model: ModelVersion, order: Order) -> Translation:
        """Translate one picture; raises any of the errors in `service.errors`."""
        loaded = model.serving()
        with loaded.admission.admit(self._checked_size(order, loaded.engine)):
            started = time.monotonic()
            picture, placement = await self._in_thread(lambda: _decode(order, loaded.engine.input, self._limits))
            decoded = time.monotonic()
            answer = await loaded.batcher.submit(picture, order.deadline)
            inferred = time.monotonic()
            data, shape = await self._in_thread(lambda: _encode(answer.result, order, placement))
            encoded = time.monotonic()
        timings = Timings(
            decoded - started, answer.queue_seconds, answer.infer_seconds, encoded - inferred, answer.batch_size
        )
        self._metrics.stages(model.name, model.version, timings)
        return Translation(data, *shape, timings)

    def _checked_size(self, order: Order, engine: Engine) -> int:
        """Return the bytes that the order will hold: as it came, at the model's size, and as pixels of the answer.

        This costs microseconds. What can be refused without decoding is refused here.
        """
        check_output(order.format, order.quality, engine.output.channels)
        sent = order.picture if isinstance(order.picture, RawPicture) else check(order.picture, self._limits)
        self._limits.check_sides(sent.height, sent.width)
        answer = sent.height * sent.width * engine.output.channels if order.at_input_size else engine.output.nbytes
        return order.nbytes + engine.input.nbytes + answer

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._codec, work)


def _decode(order: Order, model: PictureShape, limits: Limits) -> tuple[Pixels, Placement]:
    picture = order.picture
    if isinstance(picture, RawPicture):
        pixels = from_raw(
            picture.data, picture.height, picture.width, picture.channels, model_channels=model.channels, limits=limits
        )
    else:
        pixels = decode(picture, model.channels, limits)
    return fit(pixels, model.height, model.width, order.fit)


def _encode(translation: Pixels, order: Order, placement: Placement) -> tuple[bytes, tuple[int, int, int]]:
    picture = restore(translation, placement) if order.at_input_size else translation
    height, width, channels = picture.shape
    return encode(picture, order.format, order.quality), (height, width, channels)
