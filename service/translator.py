"""A request's way through the service, whichever edge it came in by."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.cache import AnswerCache
from service.errors import (
    DeadlineExceeded,
    DeadlineUnreachable,
    InvalidPicture,
    InvalidRequest,
    PictureTooLarge,
    QueueFull,
)
from service.picture.decode import check, decode, from_raw
from service.picture.encode import Format, check_output, check_size, encode
from service.picture.fit import Box, Fit, Placement, fit, restore
from service.picture.size import target_size
from service.picture.tile import Blender, plan_tiles
from service.runner import Work, kind_of
from service.scheduler.admission import Wish
from service.scheduler.priority import Priority
from service.telemetry import tracing
from service.tiling import tiling_bytes, translate_tiles

if TYPE_CHECKING:
    from service.codec import Codec
    from service.engine.contract import Pixels, Samples
    from service.engine.engine import Engine
    from service.limits import Limits
    from service.models.registry import LoadedModel, ModelVersion
    from service.scheduler.admission import Ticket
    from service.telemetry.metrics import Metrics

_TOO_LATE = "the deadline passed before the picture was done"
# Seconds that an answer still needs before it is on its way.
_LAST_STEP = 0.001


@dataclass(frozen=True)
class RawPicture:
    """Bare pixels: samples row by row, the channels of a pixel side by side; those of 16 bits are little-endian."""

    data: bytes
    height: int
    width: int
    channels: int
    dtype: Samples = "uint8"


@dataclass(frozen=True)
class Order:
    """A picture, an encoded file or bare pixels, and what is wanted of it; `deadline` is on the monotonic clock.

    `seed` is None where the caller gave none; `is_repeat`: it was refused for want of room before.
    """

    picture: bytes | RawPicture
    fit: Fit
    format: Format
    quality: int
    at_input_size: bool
    deadline: float = math.inf
    priority: Priority = Priority.NORMAL
    caller: str = ""
    seed: int | None = None
    is_repeat: bool = False

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
    """The picture in the format that was asked for, its dimensions in pixels, and how it came to be.

    `seed` is what the noise came from, and None where the model takes none.
    """

    data: bytes
    height: int
    width: int
    channels: int
    timings: Timings
    cached: bool = False
    tiles: int = 1
    seed: int | None = None


@dataclass(frozen=True)
class _Inferred:
    """What the engine made of a picture, and how long that took."""

    pixels: Pixels
    queue: float
    infer: float
    batch_size: int
    tiles: int = 1


class Translator:
    """Admits, decodes, queues, infers and encodes; the one way from an order to a translation."""

    def __init__(self, limits: Limits, codec: Codec, metrics: Metrics, cache_bytes: int = 0) -> None:
        self._limits = limits
        self._codec = codec
        self._metrics = metrics
        self._cache: AnswerCache[Translation] | None = AnswerCache(cache_bytes) if cache_bytes else None

    async def translate(self, model: ModelVersion, order: Order) -> Translation:
        """Translate one picture; raises any of the errors in `service.errors`."""
        loaded = model.serving()
        wish = self._wish(order, loaded)
        try:
            made = await self._admitted(model, loaded, order, wish)
        except (QueueFull, DeadlineUnreachable):
            if not order.is_repeat and wish.deadline - time.monotonic() > loaded.queue.shortest(wish.kind):
                self._metrics.model(model.name, model.version).unmet(loaded.queue.least_work(wish.rows, wish.kind))
            raise
        if not made.cached:
            self._metrics.model(model.name, model.version).stages(made.timings)
        return made

    async def _admitted(self, model: ModelVersion, loaded: LoadedModel, order: Order, wish: Wish) -> Translation:
        until = None if math.isinf(order.deadline) else order.deadline
        with loaded.admission.admit(wish) as ticket:
            try:
                async with asyncio.timeout_at(until):
                    made = await self._made(model, loaded, order, ticket)
            except TimeoutError as error:
                raise DeadlineExceeded(_TOO_LATE) from error
            if time.monotonic() + _LAST_STEP > order.deadline:  # the timer is only as punctual as the event loop
                raise DeadlineExceeded(_TOO_LATE)
        return made

    async def _made(self, model: ModelVersion, loaded: LoadedModel, order: Order, ticket: Ticket) -> Translation:
        started = time.monotonic()
        with tracing.stage("decode"):
            picture, placement = await self._decoded(order, loaded.engine)
        decoded = time.monotonic()
        key = await self._key(loaded.engine, order, picture, placement)
        if known := self._known(model, key):
            return replace(known, timings=Timings(decoded - started, 0.0, 0.0, 0.0, 0), cached=True)
        inferred = await self._inferred(loaded, order, picture, ticket)
        ready = time.monotonic()
        with tracing.stage("encode"):
            data, (height, width, channels) = await self._encoded(inferred.pixels, order, placement)
        timings = Timings(
            decoded - started, inferred.queue, inferred.infer, time.monotonic() - ready, inferred.batch_size
        )
        seed = (order.seed or 0) if loaded.engine.takes_seed else None
        made = Translation(data, height, width, channels, timings, tiles=inferred.tiles, seed=seed)
        if self._cache and key:
            self._cache.put(key, made, len(data))
        return made

    def _wish(self, order: Order, loaded: LoadedModel) -> Wish:
        """Return what the order asks for: bytes as it came, at the model's size, and as pixels of the answer.

        This costs microseconds. What can be refused without decoding is refused here.
        """
        engine = loaded.engine
        given, made = engine.input, engine.output
        check_output(order.format, order.quality, made.channels, made.dtype)
        if order.seed is not None and not engine.takes_seed:
            raise InvalidRequest(f"seed is {order.seed}, but the model takes none: it was exported without its noise")
        sent = order.picture if isinstance(order.picture, RawPicture) else check(order.picture, self._limits)
        self._limits.check_sides(sent.height, sent.width)
        size = _foreseen_size(order, sent.height, sent.width, engine, self._limits)
        answer = (sent.height, sent.width) if order.at_input_size else engine.contract.made_size(*size)
        rows, nbytes = 1, order.nbytes + given.nbytes_at(*size) + made.nbytes_at(*answer)
        if order.fit is Fit.TILE:
            # Its orientation, which may swap the sides, is read when it is decoded.
            sizes = {(sent.height, sent.width), (sent.width, sent.height)}
            plans = [plan_tiles(*size, given.height, given.width) for size in sizes]
            rows = max(plan.count for plan in plans)
            nbytes += max(tiling_bytes(plan, given, made, _window(loaded)) for plan in plans)
        return Wish(nbytes, rows, order.priority, order.deadline, order.caller, kind_of(given, *size))

    async def _decoded(self, order: Order, engine: Engine) -> tuple[Pixels, Placement]:
        sent = order.picture if isinstance(order.picture, RawPicture) else check(order.picture, self._limits)
        if isinstance(sent, RawPicture) and _is_as_given(sent, order.fit, engine, self._limits):
            return _decode(order, engine, self._limits)  # a view of the bytes: a thread would cost more
        return await self._codec.run(lambda: _decode(order, engine, self._limits), sent.height * sent.width)

    async def _encoded(self, made: Pixels, order: Order, placement: Placement) -> tuple[bytes, tuple[int, int, int]]:
        if order.format is Format.RAW and not order.at_input_size and order.fit is not Fit.TILE:
            return _encode(made, order, placement)  # a copy
        height, width = (placement.source.height, placement.source.width) if order.at_input_size else made.shape[:2]
        return await self._codec.run(lambda: _encode(made, order, placement), height * width)

    async def _inferred(self, loaded: LoadedModel, order: Order, picture: Pixels, ticket: Ticket) -> _Inferred:
        link, seed = tracing.link(), order.seed or 0
        if order.fit is not Fit.TILE:
            answer = await loaded.queue.submit(Work(picture, link, seed), ticket)
            return _Inferred(answer.result, answer.queue_seconds, answer.infer_seconds, answer.batch_size)
        given, made = loaded.engine.input, loaded.engine.output
        height, width = picture.shape[:2]
        plan = plan_tiles(height, width, given.height, given.width)
        blender = Blender(plan, made.height / given.height, made.width / given.width, made.channels, made.dtype)
        check_size(order.format, *((height, width) if order.at_input_size else blender.result().shape[:2]))
        ticket.rows_left = plan.count
        tiled = await translate_tiles(
            picture,
            plan,
            blender,
            lambda tile: loaded.queue.submit(Work(tile, link, seed), ticket),
            in_thread=self._codec.run,
            window=_window(loaded),
        )
        return _Inferred(tiled.pixels, tiled.queue, tiled.infer, tiled.batch_size, plan.count)

    async def _key(self, engine: Engine, order: Order, picture: Pixels, placement: Placement) -> bytes | None:
        """Return what an answer is known by, where answers are kept: all that it depends on."""
        if self._cache is None:
            return None
        size = (placement.source, placement.target) if order.at_input_size else ()
        options = order.fit, order.format, order.quality, size, order.seed or 0
        return await self._codec.run(lambda: AnswerCache.key(engine.digest, picture, *options), picture.size)

    def _known(self, model: ModelVersion, key: bytes | None) -> Translation | None:
        if self._cache is None or key is None:
            return None
        known = self._cache.get(key)
        self._metrics.model(model.name, model.version).cache(known is not None)
        return known


def _window(loaded: LoadedModel) -> int:
    """Return how many tiles of a picture are in hand at a time: for each lane what runs and what runs next."""
    return 2 * loaded.max_batch_size * loaded.queue.lanes.count


def _size_given(how: Fit, height: int, width: int, engine: Engine, limits: Limits) -> tuple[int, int]:
    """Return the size at which a picture of height x width is given to the model.

    Raises InvalidPicture when the fit is NONE and the model does not take that size, and PictureTooLarge.
    """
    given = engine.input
    size = target_size(how, height, width, given)
    if size != (given.height, given.width):
        limits.check_model_size(*size)
        if max(size) > engine.longest_side:
            raise PictureTooLarge(
                f"the model would be given {size[1]:,} x {size[0]:,} pixels; sides of at most {engine.longest_side:,} "
                "are accepted where TensorRT runs it"
            )
    return size


def _foreseen_size(order: Order, height: int, width: int, engine: Engine, limits: Limits) -> tuple[int, int]:
    """Return the size as `_size_given` does, from what the header says: a file's orientation may yet swap the sides."""
    try:
        return _size_given(order.fit, height, width, engine, limits)
    except InvalidPicture:
        if isinstance(order.picture, RawPicture) or not engine.input.accepts(width, height):
            raise
        return width, height


def _is_as_given(sent: RawPicture, how: Fit, engine: Engine, limits: Limits) -> bool:
    """Return whether bare pixels are what the model is given, byte for byte."""
    given, size = engine.input, (sent.height, sent.width)
    return (sent.channels, sent.dtype) == (given.channels, given.dtype) and (
        _size_given(how, *size, engine, limits) == size
    )


def _decode(order: Order, engine: Engine, limits: Limits) -> tuple[Pixels, Placement]:
    picture, given = order.picture, engine.input
    if isinstance(picture, RawPicture):
        sides = picture.height, picture.width, picture.channels
        pixels = from_raw(
            picture.data,
            *sides,
            model_channels=given.channels,
            limits=limits,
            dtype=picture.dtype,
            model_dtype=given.dtype,
        )
    else:
        pixels = decode(picture, given.channels, limits, given.dtype)
    height, width = pixels.shape[:2]
    if order.fit is Fit.TILE:
        whole = Box(0, 0, height, width)
        return pixels, Placement(whole, whole, height, width)
    return fit(pixels, *_size_given(order.fit, height, width, engine, limits), order.fit, at_scale=given.any_size)


def _encode(translation: Pixels, order: Order, placement: Placement) -> tuple[bytes, tuple[int, int, int]]:
    picture = restore(translation, placement) if order.at_input_size else translation
    height, width, channels = picture.shape
    return encode(picture, order.format, order.quality), (height, width, channels)
