"""What both kinds of calls say and read on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from lapis.v1 import translation_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

METHOD = "/lapis.v1.TranslationService"
_REQUEST_TAG = bytes([pb.TranslateStreamRequest.REQUEST_FIELD_NUMBER << 3 | 2])
_DETAILS = "grpc-status-details-bin"


def timeout_field(seconds: float) -> bytes:
    """Returns TranslateRequest.timeout, serialised, to be put behind a serialised request."""
    whole = int(seconds)
    timeout = Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))
    return pb.TranslateRequest(timeout=timeout).SerializeToString()


def id_field(request_id: str) -> bytes:
    """Returns TranslateRequest.request_id, serialised, to be put behind a serialised request."""
    return pb.TranslateRequest(request_id=request_id).SerializeToString()


def stream_request(request: bytes) -> bytes:
    """Returns a TranslateStreamRequest, serialised, around a serialised request: its tag, its length, and itself."""
    length, size = b"", len(request)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return _REQUEST_TAG + length + bytes([size]) + request


def reason_of(trailers: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Returns the reason in the google.rpc.ErrorInfo of an error; "" where it carries none, as gRPC's own do."""
    details = next((value for key, value in trailers or () if key == _DETAILS), b"")
    try:
        status = status_pb2.Status.FromString(details)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return str(info.reason)
    except DecodeError:
        return ""
    return ""
