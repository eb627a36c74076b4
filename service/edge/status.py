"""The one table from the service's errors to gRPC status, and the details that go with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from lapis.v1 import translation_pb2 as pb

from service.errors import (
    CallerLimit,
    ControlDisabled,
    DeadlineExceeded,
    DeadlineUnreachable,
    EngineBroken,
    InferenceFailed,
    InvalidPicture,
    InvalidRequest,
    ModelNotFound,
    ModelUnusable,
    NotReady,
    Overloaded,
    PictureTooLarge,
    QueueFull,
    ServiceError,
    Unauthenticated,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN = "lapis"

CODES: dict[type[ServiceError], grpc.StatusCode] = {
    ServiceError: grpc.StatusCode.INTERNAL,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidPicture: grpc.StatusCode.INVALID_ARGUMENT,
    PictureTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineUnreachable: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CallerLimit: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    InferenceFailed: grpc.StatusCode.INTERNAL,
    EngineBroken: grpc.StatusCode.INTERNAL,
    ControlDisabled: grpc.StatusCode.PERMISSION_DENIED,
    ModelUnusable: grpc.StatusCode.FAILED_PRECONDITION,
}


@dataclass(frozen=True)
class Told:
    """What a caller is told of an error: as the end of a call, or as an item of a stream.

    `retry_after`, in seconds, is None where trying again is of no use; `error_id` is empty unless the fault is ours.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    retry_after: float | None = None
    error_id: str = ""

    def as_status(self) -> status_pb2.Status:
        """Return the status with its details, for the end of a call."""
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        if self.error_id:
            info.metadata["error_id"] = self.error_id
        details: list[Message] = [info]
        if self.retry_after is not None:
            details.append(error_details_pb2.RetryInfo(retry_delay=duration(self.retry_after)))
        return status_pb2.Status(
            code=self.code.value[0], message=self.message, details=[_packed(one) for one in details]
        )

    def as_item(self) -> pb.TranslateError:
        """Return the same as an item of a stream."""
        item = pb.TranslateError(code=self.code.value[0], reason=self.reason, message=self.message)
        if self.retry_after is not None:
            item.retry_delay.CopyFrom(duration(self.retry_after))
        return item


def refusal(error: ServiceError) -> Told:
    """Return what a caller is told of an error that is meant for callers."""
    retry_after = error.retry_after if isinstance(error, Overloaded) else None
    return Told(CODES[type(error)], error.reason, str(error), retry_after)


def fault(reason: str, error_id: str) -> Told:
    """Return what a caller is told of a fault of ours: an id to quote, by which the log has the rest."""
    message = f"the server failed on this request; error id {error_id}"
    return Told(grpc.StatusCode.INTERNAL, reason, message, error_id=error_id)


def duration(seconds: float) -> duration_pb2.Duration:
    """Return seconds as a protobuf duration."""
    whole, nanoseconds = divmod(round(seconds * 1e9), 1_000_000_000)
    return duration_pb2.Duration(seconds=whole, nanos=nanoseconds)


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
