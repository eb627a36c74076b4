from __future__ import annotations

import pytest

from service.errors import QueueFull
from service.scheduler.admission import Admission


def test_requests_are_bounded() -> None:
    admission = Admission(max_requests=2, max_bytes=1000, expected_wait=lambda: 1.5)
    with admission.admit(1), admission.admit(1):
        with pytest.raises(QueueFull, match="2 requests are in") as refused, admission.admit(1):
            pass
        assert refused.value.retry_after == 1.5
    with admission.admit(1):
        assert admission.requests == 1


def test_bytes_are_bounded() -> None:
    admission = Admission(max_requests=10, max_bytes=1000, expected_wait=lambda: 0.0)
    with admission.admit(600), admission.admit(400):
        assert admission.bytes == 1000
        with pytest.raises(QueueFull, match="1,000 bytes are in"), admission.admit(1):
            pass
    assert (admission.requests, admission.bytes) == (0, 0)


def test_failure_inside_gives_the_place_back() -> None:
    admission = Admission(max_requests=1, max_bytes=1, expected_wait=lambda: 0.0)
    with pytest.raises(KeyError), admission.admit(1):
        raise KeyError
    assert (admission.requests, admission.bytes) == (0, 0)


def test_refused_caller_is_never_told_to_come_back_at_once() -> None:
    admission = Admission(max_requests=0, max_bytes=1, expected_wait=lambda: 0.0)
    with pytest.raises(QueueFull) as refused, admission.admit(1):
        pass
    assert refused.value.retry_after > 0
