from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from service.edge.call import Call
from service.edge.load_report import KEY, LoadReport
from service.edge.trailers import TIMING_KEY, load_trailers, trailers

if TYPE_CHECKING:
    from tests.service.edge.conftest import Edged

METRIC = re.compile(r"(\w+);dur=(\d+\.\d{3})")


def timings(metadata: Any) -> dict[str, float]:  # noqa: ANN401 (of a call or of an error)
    """Reads a header as the standard has it: metrics, each a name and a duration in milliseconds."""
    metrics = str(dict(metadata)[TIMING_KEY]).split(", ")
    return {match[1]: float(match[2]) for metric in metrics if (match := METRIC.fullmatch(metric))}


async def test_answer_is_followed_by_where_its_time_went(edged: Edged) -> None:
    async with edged() as edge:
        call = edge.translate(b"ab")
        await call
        told = timings(await call.trailing_metadata())
    assert told.pop("total") > 0
    assert told == {"decode": 1, "queue": 2, "infer": 3, "encode": 4}


async def test_error_is_followed_by_how_long_it_took(edged: Edged) -> None:
    async with edged() as edge:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await edge.translate(b"ab", model="nobody")
        assert set(timings(refused.value.trailing_metadata())) == {"total"}


def test_load_is_told_if_it_is_to_be() -> None:
    context: Any = None
    call = Call("lapis.v1.TranslationService/Translate", context, 0)
    load = LoadReport(lambda: 0.5, lambda: 0.0)
    assert dict(trailers(call, load))[KEY] == load.current()
    assert load_trailers(load) == ((KEY, load.current()),)
    assert KEY not in dict(trailers(call, None))
    assert load_trailers(None) == ()
