"""The one table from the service's errors to gRPC status, and the details that go with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from service.errors import (
    CallerLimit,
    ControlDisabled,
    DeadlineExceeded,
    DeadlineUnreachable,
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
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

DOMAIN = "lapis"

CODES: dict[type[ServiceError], grpc.StatusCode] = {
    ServiceError: grpc.StatusCode.INTERNAL,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidPicture: grpc.StatusCode.INVALID_ARGUMENT,
    PictureTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineUnreachable: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CallerLimit: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    InferenceFailed: grpc.StatusCode.INTERNAL,
    ControlDisabled: grpc.StatusCode.PERMISSION_DENIED,
    ModelUnusable: grpc.StatusCode.FAILED_PRECONDITION,
}


def refusal(error: ServiceError) -> status_pb2.Status:
    """Return what a caller is told of an error that is meant for callers."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)]
    if isinstance(error, Overloaded):
        details.append(error_details_pb2.RetryInfo(retry_delay=duration(error.retry_after)))
    return _status(CODES[type(error)], str(error), details)


def fault(reason: str, error_id: str) -> status_pb2.Status:
    """Return what a caller is told of a fault of ours: an id to quote, by which the log has the rest."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata={"error_id": error_id})
    return _status(grpc.StatusCode.INTERNAL, f"the server failed on this request; error id {error_id}", [info])


def duration(seconds: float) -> duration_pb2.Duration:
    """Return seconds as a protobuf duration."""
    fraction, whole = math.modf(seconds)
    return duration_pb2.Duration(seconds=int(whole), nanos=int(fraction * 1e9))


def _status(code: grpc.StatusCode, message: str, details: list[Message]) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)
