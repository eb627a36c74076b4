"""Many pictures on one call: what is sent, what comes back, and what is in hand meanwhile. For both clients."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Unpack

import grpc

from lapis.client import answers, messages
from lapis.client.errors import InvalidPicture, TranslationError, Unreachable, from_item
from lapis.v1 import translation_pb2 as v1

if TYPE_CHECKING:
    from lapis.client.answers import Translation
    from lapis.client.messages import Picture, Tensor, TranslateOptions

DEFAULT_WINDOW = 32
_LONGEST_ID = 128


class Request:
    """One picture of a stream and what is wanted of it: what `translate` takes, which wins over the stream's own.

    `timeout`, in seconds, runs from the picture's arrival at the server.
    """

    def __init__(self, picture: Picture, *, timeout: float | None = None, **options: Unpack[TranslateOptions]) -> None:
        self.picture = picture
        self.timeout = timeout
        self.options = options


@dataclass(frozen=True)
class StreamResult:
    """What became of one picture of a stream: a translation, or the error that `translate` would have raised."""

    request: Request  # that it answers
    request_id: str  # the request's own, or the one made up for it
    outcome: Translation | TranslationError

    def get(self) -> Translation:
        """Returns the translation; raises the error where there is none."""
        if isinstance(self.outcome, TranslationError):
            raise self.outcome
        return self.outcome


class Book:
    """Keeps what was sent on a call and is not answered, `window` pictures at most; knows when all is.

    `timeout` and `options` hold for pictures that have none of their own. Raises ValueError for what cannot be.
    """

    def __init__(self, address: str, window: int, timeout: float, options: TranslateOptions) -> None:
        if "request_id" in options:
            raise ValueError("request_id is each picture's own: give it to Request")
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        messages.translate_request(b"", timeout=timeout, **options)  # a wrong word is told before anything is sent
        self.window = window
        self._address = address
        self._timeout = timeout
        self._options = options
        self._in_hand: dict[str, Request] = {}
        self.all_sent = False  # set once there is nothing more to send

    def enter(self, request: Request, picture: bytes | Tensor) -> v1.TranslateStreamRequest:
        """Returns the message for a request whose picture was read; raises ValueError for what no server could take."""
        options: TranslateOptions = {**self._options, **request.options}
        timeout = self._timeout if request.timeout is None else request.timeout
        message = messages.translate_request(picture, timeout=timeout, **options)
        _check_id(message.request_id)
        if message.request_id in self._in_hand:
            raise ValueError(f"request_id {message.request_id!r} is in hand already")
        self._in_hand[message.request_id] = request
        return v1.TranslateStreamRequest(request=message)

    def take(self, response: v1.TranslateStreamResponse) -> StreamResult:
        """Returns what a message says of the request that it answers, which is in hand no longer."""
        request = self._in_hand.pop(response.request_id, None)
        if request is None:
            message = f"{self._address} answered {response.request_id!r}, which was not asked"
            raise TranslationError(message, grpc.StatusCode.INTERNAL, "INTERNAL", request_id=response.request_id)
        if response.WhichOneof("result") == "response":
            return StreamResult(request, response.request_id, answers.translation(response.response))
        return StreamResult(request, response.request_id, from_item(response.error, response.request_id))

    def check_end(self) -> None:
        """Raises Unreachable where the server ended the call before everything was sent and answered."""
        if self._in_hand or not self.all_sent:
            message = f"{self._address} ended the stream with {len(self._in_hand)} pictures unanswered"
            raise Unreachable(message, grpc.StatusCode.UNAVAILABLE, "UNREACHABLE")


def as_request(picture: Picture | Request) -> Request:
    """Returns the request that a picture alone is short for."""
    return picture if isinstance(picture, Request) else Request(picture)


def unreadable(request: Request, error: OSError) -> StreamResult:
    """Returns what becomes of a picture whose file cannot be read: it fails alone."""
    assert isinstance(request.picture, str | PathLike)  # noqa: S101 (nothing else is read)
    message = f"cannot read {request.picture}: {error.strerror or error}"
    request_id = request.options.get("request_id", "")
    refusal = InvalidPicture(message, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PICTURE", request_id=request_id)
    refusal.__cause__ = error
    return StreamResult(request, request_id, refusal)


def _check_id(request_id: str) -> None:
    """Raises ValueError for an id that the server would refuse, and answer under another."""
    if len(request_id) > _LONGEST_ID or not (request_id.isascii() and request_id.isprintable()):
        raise ValueError(f"request_id must be at most {_LONGEST_ID} printable ASCII characters, not {request_id!r}")
