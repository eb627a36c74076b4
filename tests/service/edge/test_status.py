from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2

from service.edge.status import CODES, Told, duration, fault, refusal
from service.errors import InvalidRequest, QueueFull, ServiceError

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
    told = refusal(QueueFull("too much", retry_after=2)).as_status()
    assert (told.code, told.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "too much")
    assert len(told.details) == 2


TOLD = [refusal(QueueFull("too much", retry_after=2)), refusal(InvalidRequest("no")), fault("INTERNAL", "abc")]


@pytest.mark.parametrize("told", TOLD)
def test_item_says_what_the_end_of_a_call_would(told: Told) -> None:
    item, status = told.as_item(), told.as_status()
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert (item.code, item.message, item.reason) == (status.code, status.message, info.reason)
    assert info.metadata.get("error_id", "") == told.error_id
    assert item.HasField("retry_delay") == (len(status.details) == 2)
    if item.HasField("retry_delay"):
        assert status.details[1].Unpack(retry)
        assert item.retry_delay == retry.retry_delay
