"""What each call asks for, drawn by weight and from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapis.v1 import translation_pb2 as pb

from bench import pictures

if TYPE_CHECKING:
    import random

    from bench.pictures import Sent
    from bench.settings import Answer, BenchSettings, Priority

_FITS = {"stretch": pb.FIT_STRETCH, "pad": pb.FIT_PAD, "crop": pb.FIT_CROP, "tile": pb.FIT_TILE}
_FORMATS = {
    "png": pb.PICTURE_FORMAT_PNG,
    "jpeg": pb.PICTURE_FORMAT_JPEG,
    "webp": pb.PICTURE_FORMAT_WEBP,
    "raw": pb.PICTURE_FORMAT_RAW,
}
_PRIORITIES = {"high": pb.PRIORITY_HIGH, "normal": pb.PRIORITY_NORMAL, "low": pb.PRIORITY_LOW}
_SIZES = {"model": pb.OUTPUT_SIZE_MODEL, "input": pb.OUTPUT_SIZE_INPUT}


@dataclass(frozen=True, slots=True)
class Order:
    """One call: the serialised request, the seconds its caller waits, and those after which he cancels."""

    request: bytes
    priority: Priority
    deadline: float
    cancel_after: float

    @property
    def is_cancelling(self) -> bool:
        """Whether the caller means to cancel."""
        return self.cancel_after < math.inf


class OrderBook:
    """All that may be asked, made ready beforehand so that a call costs its caller little.

    Serialised messages, one behind the other, are the message with the fields of both: a request is its picture, which
    is the same in many requests, followed by the rest.
    """

    def __init__(self, settings: BenchSettings, rng: random.Random) -> None:
        """Reads or draws the pictures; raises BenchError."""
        self._rng = rng
        self._priorities = settings.priorities
        self._deadlines = settings.deadlines
        self._answers = settings.answers
        self._kinds = settings.picture_kinds
        self._cancel, self._cancel_within = settings.cancel, settings.cancel_within
        self._pictures = {
            kind: pictures.load(kind, settings.folder, settings.variety, settings.seed) for kind in self._kinds.items
        }
        self._options = {
            (priority, answer): _options(settings, priority, answer)
            for priority in self._priorities.items
            for answer in _FORMATS
        }

    def draw(self) -> Order:
        """Returns the next call."""
        rng = self._rng
        picture: Sent = rng.choice(self._pictures[self._kinds.draw(rng)])
        priority = self._priorities.draw(rng)
        answer: Answer | str = self._answers.draw(rng)
        request = picture.wire + self._options[priority, picture.format if answer == "same" else answer]
        cancel_after = rng.uniform(0, self._cancel_within) if rng.random() < self._cancel else math.inf
        return Order(request, priority, self._deadlines.draw(rng), cancel_after)


def _options(settings: BenchSettings, priority: Priority, answer: str) -> bytes:
    return pb.TranslateRequest(
        model=settings.model,
        version=settings.model_version,
        fit=_FITS[settings.fit],
        priority=_PRIORITIES[priority],
        output=pb.OutputOptions(format=_FORMATS[answer], size=_SIZES[settings.answer_size]),
    ).SerializeToString()
