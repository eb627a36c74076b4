"""What one caller's pictures do to the others'. Nothing is timed: what takes long stands still until told otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from lapis.v1 import translation_pb2 as pb

from service import translator
from service.codec import SMALL
from service.picture.header import read_header

if TYPE_CHECKING:
    from tests.service.conftest import Png, Service, Serving

AT_INPUT_SIZE = pb.OutputOptions(size=pb.OUTPUT_SIZE_INPUT)
SIDES = 1025, 1024


class Standstill:
    """Makes work on large pictures stand still; `held` says how often it began."""

    def __init__(self) -> None:
        self.held = 0
        self.over = threading.Event()

    def before(self, work: Callable[..., Any], pixels: Callable[..., int]) -> Callable[..., Any]:
        def held(*arguments: object) -> Any:  # noqa: ANN401
            if pixels(*arguments) > SMALL:
                self.held += 1
                self.over.wait()
            return work(*arguments)

        return held


@pytest.fixture
def standstill() -> Iterator[Standstill]:
    standstill = Standstill()
    yield standstill
    standstill.over.set()


def pixels_of_a_file(encoded: bytes, *_: object) -> int:
    header = read_header(encoded)
    return header.height * header.width


async def answered(service: Service, png: Png) -> None:
    """Sees that small pictures are answered, whichever way they go; where they are held up, the test ends."""
    async with asyncio.timeout(30):
        for fields in ({}, {"fit": pb.FIT_TILE}, {"output": AT_INPUT_SIZE}):
            assert (await service.translate(png(40, 20, 30), **fields)).height in {8, 20}


async def test_picture_that_takes_long_to_decode_holds_up_no_small_one(
    serving: Serving, png: Png, standstill: Standstill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator, "decode", standstill.before(translator.decode, pixels_of_a_file))
    async with serving({"invert/1": "invert"}, codec_threads=1) as service:
        hostile = [service.translate(png(1, *SIDES)) for _ in range(5)]
        await service.until(lambda: standstill.held == 1 and service.model.admission.requests == 5)
        await answered(service, png)
        standstill.over.set()
        assert [(await call).height for call in hostile] == [8] * 5


async def test_answer_that_takes_long_to_encode_holds_up_no_small_one(
    serving: Serving, png: Png, standstill: Standstill, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = standstill.before(translator.encode, lambda picture, *_: picture.shape[0] * picture.shape[1])
    monkeypatch.setattr(translator, "encode", encode)
    async with serving({"invert/1": "invert"}, codec_threads=1) as service:
        hostile = [service.translate(png(1, *SIDES), output=AT_INPUT_SIZE) for _ in range(3)]
        await service.until(lambda: standstill.held == 1 and service.model.admission.requests == 3)
        await answered(service, png)
        standstill.over.set()
        assert [(await call).height for call in hostile] == [1025] * 3


async def test_callers_who_send_and_leave_hold_up_no_small_picture(
    serving: Serving, png: Png, standstill: Standstill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread at work cannot be stopped; it must not count as free either."""
    monkeypatch.setattr(translator, "decode", standstill.before(translator.decode, pixels_of_a_file))
    large = png(1, *SIDES)
    async with serving({"invert/1": "invert"}, codec_threads=2) as service:
        for number in range(1, 7):
            call = service.translate(large)
            await service.until(lambda: service.model.admission.requests == 1)
            await service.until(lambda number=number: standstill.held >= min(number, 2))
            call.cancel()
            await service.until(lambda: service.model.admission.requests == 0)
        await answered(service, png)
        standstill.over.set()


async def test_hostile_files_are_each_refused_alone(serving: Serving, png: Png) -> None:
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\x7f\xff\xff\xff" * 2 + b"\x08\2\0\0\0" + bytes(4)
    files = [bomb, b"", png(1)[:60], b"\xff\xd8\xff" + b"\xff" * 100_000, b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(30)]
    async with serving({"invert/1": "invert"}) as service:
        hostile = [service.translate(file) for file in files * 4]
        assert (await service.translate(png(1))).height == 8
        for call in hostile:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
