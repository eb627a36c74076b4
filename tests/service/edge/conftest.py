"""What the tests of the edges ask of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message


class Reason(Protocol):
    def __call__(self, error: grpc.aio.AioRpcError) -> str: ...


class Details(Protocol):
    def __call__(self, error: grpc.aio.AioRpcError, kind: type[Message]) -> Message: ...


@pytest.fixture(scope="session")
def details() -> Details:
    """Finds the details of a kind in an error."""

    def find(error: grpc.aio.AioRpcError, kind: type[Message]) -> Message:
        message = kind()
        status = rpc_status.from_call(error)
        assert status is not None
        assert any(detail.Unpack(message) for detail in status.details)
        return message

    return find


@pytest.fixture(scope="session")
def reason(details: Details) -> Reason:
    """Reads the reason out of an error that carries one of ours."""

    def read(error: grpc.aio.AioRpcError) -> str:
        info = details(error, error_details_pb2.ErrorInfo)
        assert info.domain == "lapis"
        return str(info.reason)

    return read
