from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from service.edge.status import CODES, duration, refusal
from service.errors import QueueFull, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator


def tree(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_every_error_has_its_status() -> None:
    assert set(CODES) == set(tree(ServiceError))


def test_no_error_is_told_as_success_or_as_unknown() -> None:
    assert not set(CODES.values()) & {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN}


def test_reasons_are_distinct() -> None:
    reasons = [kind.reason for kind in CODES]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(("seconds", "nanoseconds"), [(0, 0), (0.25, 250_000_000), (61.5, 61_500_000_000)])
def test_duration_keeps_the_time(seconds: float, nanoseconds: int) -> None:
    assert duration(seconds).ToNanoseconds() == nanoseconds


def test_refusal_carries_the_message_as_it_was_raised() -> None:
    told = refusal(QueueFull("too much", retry_after=2))
    assert (told.code, told.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "too much")
    assert len(told.details) == 2
