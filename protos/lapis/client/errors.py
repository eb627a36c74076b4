"""What a call can fail with; the classes mirror the reasons that the server sends in google.rpc.ErrorInfo.

    TranslationError
    ├── InvalidRequest           INVALID_REQUEST       an option or a combination of options that cannot be
    │   ├── InvalidPicture       INVALID_PICTURE       the picture cannot be read, or not by this model
    │   └── PictureTooLarge      PICTURE_TOO_LARGE     the picture exceeds a limit of the server
    ├── Unauthenticated          UNAUTHENTICATED       the server asks for a token, and has not got one that it knows
    ├── ModelNotFound            MODEL_NOT_FOUND       no such model or version
    ├── NotReady                 NOT_READY             the model or the server cannot take requests now
    ├── Overloaded               OVERLOADED            not now; `retry_after` says when to come back
    │   ├── QueueFull            QUEUE_FULL            too much is waiting
    │   ├── DeadlineUnreachable  DEADLINE_UNREACHABLE  too much is waiting for this timeout to be kept
    │   └── CallerLimit          CALLER_LIMIT          this caller has too many requests in hand
    ├── DeadlineExceeded         DEADLINE_EXCEEDED     the timeout passed before the answer was there
    ├── InferenceFailed          INFERENCE_FAILED      the engine failed on this picture
    │   └── EngineBroken         ENGINE_BROKEN         the engine fails on any picture
    ├── ControlDisabled          CONTROL_DISABLED      callers may not load and unload models there
    ├── ModelUnusable            MODEL_UNUSABLE        a model that was to be loaded cannot be served
    └── Unreachable              UNREACHABLE           nothing that speaks Lapis answers at the address, or it went away

A reason that this client does not know yet, or an error without one, is a plain TranslationError.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.duration_pb2 import Duration

    from lapis.v1 import translation_pb2 as v1

DOMAIN = "lapis"
_STATUS_DETAILS = "grpc-status-details-bin"


class TranslationError(Exception):
    """Base of all failed calls.

    `code` is the gRPC status; `reason` is stable and made for programs; `retry_after` is in seconds, None where the
    server named none; `request_id` is what the server's log calls the request, empty for calls that have none.
    """

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode,
        reason: str,
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message, code, reason, retry_after, request_id)  # all of them, so that it can be pickled
        self.message = message
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.request_id = request_id

    def __str__(self) -> str:
        return self.message


class InvalidRequest(TranslationError):
    """The request cannot be carried out as it stands."""


class InvalidPicture(InvalidRequest):
    """The picture cannot be read, or not by this model."""


class PictureTooLarge(InvalidRequest):
    """The picture exceeds one of the server's limits."""


class Unauthenticated(TranslationError):
    """The server asks for a token, and has not got one that it knows."""


class ModelNotFound(TranslationError):
    """No such model, or no such version of it."""


class NotReady(TranslationError):
    """The model or the server cannot take requests now."""


class Overloaded(TranslationError):
    """The server does not take the request now; `retry_after` says when to come back."""


class QueueFull(Overloaded):
    """Too much is waiting already."""


class DeadlineUnreachable(Overloaded):
    """Too much is waiting for this timeout to be kept."""


class CallerLimit(Overloaded):
    """This caller has as many requests in hand as the server lets one have."""


class DeadlineExceeded(TranslationError):
    """The timeout passed before the answer was there."""


class InferenceFailed(TranslationError):
    """The engine failed on this picture."""


class EngineBroken(InferenceFailed):
    """The engine fails on any picture."""


class ControlDisabled(TranslationError):
    """The server does not let callers load and unload models."""


class ModelUnusable(TranslationError):
    """A model that was to be loaded cannot be served; what was loaded before stays."""


class Unreachable(TranslationError):
    """Nothing that speaks Lapis answers at the address, or it went away."""


BY_REASON: dict[str, type[TranslationError]] = {
    "INVALID_REQUEST": InvalidRequest,
    "INVALID_PICTURE": InvalidPicture,
    "PICTURE_TOO_LARGE": PictureTooLarge,
    "UNAUTHENTICATED": Unauthenticated,
    "MODEL_NOT_FOUND": ModelNotFound,
    "NOT_READY": NotReady,
    "OVERLOADED": Overloaded,
    "QUEUE_FULL": QueueFull,
    "DEADLINE_UNREACHABLE": DeadlineUnreachable,
    "CALLER_LIMIT": CallerLimit,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "INFERENCE_FAILED": InferenceFailed,
    "ENGINE_BROKEN": EngineBroken,
    "CONTROL_DISABLED": ControlDisabled,
    "MODEL_UNUSABLE": ModelUnusable,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# How gRPC's balancers say that every server is there and none is healthy.
_UNHEALTHY = "backend unhealthy"


@contextmanager
def typed_errors(address: str, request_id: str = "") -> Iterator[None]:
    """Turns gRPC's errors, of threads and of asyncio alike, into TranslationErrors."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_call(cast("grpc.Call", error), address, request_id) from error


def from_call(call: grpc.Call, address: str, request_id: str) -> TranslationError:
    """Returns the error for a call that `address` ended with anything but OK."""
    info, retry = _details(call)
    if info is None:
        return _without_reason(call, address, request_id)
    retry_after = _seconds(retry.retry_delay) if retry else None
    error_class = BY_REASON.get(info.reason, TranslationError)
    return error_class(call.details() or "", call.code(), info.reason, retry_after, request_id)


def from_item(error: v1.TranslateError, request_id: str) -> TranslationError:
    """Returns the error that a stream brought as an answer."""
    code = _CODES.get(error.code, grpc.StatusCode.UNKNOWN)
    retry_after = _seconds(error.retry_delay) if error.HasField("retry_delay") else None
    error_class = BY_REASON.get(error.reason, TranslationError)
    return error_class(error.message, code, error.reason or code.name, retry_after, request_id)


def _without_reason(call: grpc.Call, address: str, request_id: str) -> TranslationError:
    """Names the errors that come from gRPC itself or from something between us and the server."""
    code, details = call.code(), call.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"no answer from {address} before the timeout"
        return DeadlineExceeded(message, code, "DEADLINE_EXCEEDED", request_id=request_id)
    if code is grpc.StatusCode.UNAVAILABLE and _UNHEALTHY in details:
        return NotReady(f"the server at {address} takes no requests now", code, "NOT_READY", request_id=request_id)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED):
        message = f"no Lapis server answers at {address}: {details}"
        return Unreachable(message, code, "UNREACHABLE", request_id=request_id)
    return TranslationError(f"{address}: {details}", code, code.name, request_id=request_id)


def _details(call: grpc.Call) -> tuple[error_details_pb2.ErrorInfo | None, error_details_pb2.RetryInfo | None]:
    """Returns what the server attached to the status, None for what it did not."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    has_info = has_retry = False
    for detail in _status(call).details:
        has_info = has_info or (detail.Unpack(info) and info.domain == DOMAIN)
        has_retry = has_retry or detail.Unpack(retry)
    return (info if has_info else None), (retry if has_retry else None)


def _seconds(duration: Duration) -> float:
    seconds: float = duration.ToTimedelta().total_seconds()
    return seconds


def _status(call: grpc.Call) -> status_pb2.Status:
    """Returns the rich status from the trailing metadata; an empty one where there is none or it cannot be read."""
    trailers = cast("dict[str, bytes]", dict(call.trailing_metadata() or ()))
    try:
        return status_pb2.Status.FromString(trailers.get(_STATUS_DETAILS, b""))
    except DecodeError:
        return status_pb2.Status()
