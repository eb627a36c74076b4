from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from lapis.v1 import translation_pb2 as pb
from lapis.v1 import translation_pb2_grpc as pb_grpc

from service.edge.call import address_of_peer

if TYPE_CHECKING:
    from tests.service.edge.conftest import Edged

TOKEN = "Bearer very-secret"


def picture() -> pb.TranslateRequest:
    return pb.TranslateRequest(encoded=b"ab")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:50051", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:50051", "2001:db8::1"),
        ("ipv6:[2001:db8::1]:50051", "2001:db8::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50051", "fe80::1%eth0"),
        ("unix:", "unix:"),
        ("unix:/run/lapis.sock", "unix:/run/lapis.sock"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_caller_is_its_address_whatever_its_port(peer: str, address: str) -> None:
    assert address_of_peer(peer) == address


async def test_caller_is_told_by_address_unless_asked_otherwise(edged: Edged) -> None:
    async with edged(caller_limit=1) as edge:
        await edge.stub.Translate(picture(), metadata=(("authorization", TOKEN),))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as another:
            await pb_grpc.TranslationServiceStub(another).Translate(picture())
    assert [order.caller for order in edge.script.orders] == ["127.0.0.1", "127.0.0.1"]


async def test_callers_are_told_apart_by_digests_of_their_tokens(edged: Edged) -> None:
    async with edged(caller_limit=1, caller_key="token") as edge:
        for metadata in ((("authorization", TOKEN),), (("authorization", TOKEN),), (("authorization", "other"),), ()):
            await edge.stub.Translate(picture(), metadata=metadata)
        call = edge.stub.TranslateStream(metadata=(("authorization", TOKEN),))
        await call.write(pb.TranslateStreamRequest(request=picture()))
        await call.read()
        call.cancel()
    first, again, other, none, streamed = (order.caller for order in edge.script.orders)
    assert first == again == streamed != other
    assert none == "127.0.0.1", "who brings no token is told by address"
    assert "secret" not in first
