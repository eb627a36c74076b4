"""Everything that can go wrong while a request is served, in one tree that knows nothing of gRPC or HTTP.

    ServiceError
    ├── InvalidRequest        an option or a combination of options that cannot be
    │   ├── InvalidPicture    the picture cannot be read, or not by this model
    │   └── PictureTooLarge   the picture exceeds a limit, which the message names
    ├── ModelNotFound         no such model or version
    ├── NotReady              the model is loading, draining or has failed; or the server is shutting down
    ├── QueueFull             too much is waiting; carries when to come back
    ├── DeadlineExceeded      the caller's deadline passed before the answer was there
    └── InferenceFailed       the engine failed on this picture; the caller learns an error id and no more

A message says what was wrong, where, and what would be right; it is written for the caller. The one error outside the
tree, StartupError, is written for whoever starts the server.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Base of all errors that a caller is told of; `reason` is stable and made for programs."""

    reason: ClassVar[str] = "INTERNAL"


class InvalidRequest(ServiceError):
    """The request cannot be carried out as it stands."""

    reason = "INVALID_REQUEST"


class InvalidPicture(InvalidRequest):
    """The picture cannot be read, or not by this model."""

    reason = "INVALID_PICTURE"


class PictureTooLarge(InvalidRequest):
    """The picture exceeds one of the server's limits."""

    reason = "PICTURE_TOO_LARGE"


class ModelNotFound(ServiceError):
    """No such model, or no such version of it."""

    reason = "MODEL_NOT_FOUND"


class NotReady(ServiceError):
    """The model or the server cannot take requests now."""

    reason = "NOT_READY"


class QueueFull(ServiceError):
    """Too much is waiting already; `retry_after` is in seconds."""

    reason = "QUEUE_FULL"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(ServiceError):
    """The caller's deadline passed before the answer was there."""

    reason = "DEADLINE_EXCEEDED"


class InferenceFailed(ServiceError):
    """The engine failed on this picture."""

    reason = "INFERENCE_FAILED"


class StartupError(Exception):
    """The server cannot start as it was told to; the message is one line for whoever started it."""
