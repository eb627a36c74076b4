"""Everything that can go wrong while a request is served, in one tree that knows nothing of gRPC or HTTP.

    ServiceError
    ├── InvalidRequest        an option or a combination of options that cannot be
    │   ├── InvalidPicture    the picture cannot be read, or not by this model
    │   └── PictureTooLarge   the picture exceeds a limit, which the message names
    ├── Unauthenticated       the caller has not said who it is, by a token that the server knows
    ├── ModelNotFound         no such model or version
    ├── NotReady              the model is loading, draining or has failed; or the server is shutting down
    ├── Overloaded            not now; carries when to come back
    │   ├── QueueFull             too much is waiting
    │   ├── DeadlineUnreachable   too much is waiting for this deadline to be met
    │   └── CallerLimit           this caller has too many requests in hand
    ├── DeadlineExceeded      the caller's deadline passed before the answer was there
    ├── InferenceFailed       the engine failed on this picture; the caller learns an error id and no more
    │   └── EngineBroken          the engine fails on any picture; made anew before a caller hears of it
    ├── ControlDisabled       callers may not load and unload models here
    └── ModelUnusable         a model that was to be loaded cannot be served; the message says why

A message says what was wrong, where, and what would be right; it is written for the caller. Two errors stand outside
the tree, written for whoever runs the server: StartupError, and EngineLost, which ends it.
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


class Unauthenticated(ServiceError):
    """The call carries no token, or none that the server knows."""

    reason = "UNAUTHENTICATED"


class ModelNotFound(ServiceError):
    """No such model, or no such version of it."""

    reason = "MODEL_NOT_FOUND"


class NotReady(ServiceError):
    """The model or the server cannot take requests now."""

    reason = "NOT_READY"


class Overloaded(ServiceError):
    """The server does not take the request now; `retry_after`, in seconds, says when it may."""

    reason = "OVERLOADED"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(Overloaded):
    """Too much is waiting already."""

    reason = "QUEUE_FULL"


class DeadlineUnreachable(Overloaded):
    """What is in already takes longer than the deadline leaves."""

    reason = "DEADLINE_UNREACHABLE"


class CallerLimit(Overloaded):
    """The caller has as many requests in hand as one may have."""

    reason = "CALLER_LIMIT"


class DeadlineExceeded(ServiceError):
    """The caller's deadline passed before the answer was there."""

    reason = "DEADLINE_EXCEEDED"


class InferenceFailed(ServiceError):
    """The engine failed on this picture."""

    reason = "INFERENCE_FAILED"


class EngineBroken(InferenceFailed):
    """The engine fails on any picture."""

    reason = "ENGINE_BROKEN"


class ControlDisabled(ServiceError):
    """Callers may not load and unload models here."""

    reason = "CONTROL_DISABLED"


class ModelUnusable(ServiceError):
    """A model that was to be loaded cannot be served."""

    reason = "MODEL_UNUSABLE"


class StartupError(Exception):
    """The server cannot start as it was told to; the message is one line for whoever started it."""


class EngineLost(Exception):
    """An engine stays broken however often it is built anew: the process must end and be started again."""
