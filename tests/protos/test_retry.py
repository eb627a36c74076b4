from __future__ import annotations

import grpc
import pytest
from lapis.client import (
    CallerLimit,
    DeadlineExceeded,
    DeadlineUnreachable,
    InferenceFailed,
    InvalidPicture,
    NotReady,
    QueueFull,
    TranslationError,
    Unreachable,
)
from lapis.retry import Retry, may_be_retried

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def error(
    kind: type[TranslationError], code: grpc.StatusCode = UNAVAILABLE, after: float | None = None
) -> TranslationError:
    return kind("sentence", code, "REASON", after)


@pytest.mark.parametrize("kind", [QueueFull, CallerLimit, DeadlineUnreachable, NotReady, Unreachable])
def test_refusals_may_be_retried(kind: type[TranslationError]) -> None:
    assert may_be_retried(error(kind))


@pytest.mark.parametrize("kind", [InvalidPicture, InferenceFailed, DeadlineExceeded, TranslationError])
def test_verdicts_may_not(kind: type[TranslationError]) -> None:
    assert not may_be_retried(error(kind))


def test_what_the_server_says_may_be_retried_may_be() -> None:
    assert may_be_retried(error(TranslationError, grpc.StatusCode.RESOURCE_EXHAUSTED, 0.5))


def test_server_that_lacks_the_call_is_not_asked_again() -> None:
    assert not may_be_retried(error(Unreachable, grpc.StatusCode.UNIMPLEMENTED))


def test_pause_is_never_shorter_than_the_server_asks_and_never_longer_than_it_grew() -> None:
    retry = Retry(60)
    asked = [retry.pause(error(QueueFull, after=2.0), 0.25) for _ in range(200)]
    grown = [retry.pause(error(NotReady), 4.0) for _ in range(200)]
    assert 2.0 <= min(asked) < max(asked) <= 2.5
    assert 2.0 <= min(grown) < max(grown) <= 4.0
