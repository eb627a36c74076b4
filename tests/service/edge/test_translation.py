from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import cv2
import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from lapis.v1 import translation_pb2 as pb
from structlog.testing import capture_logs

from service.scheduler.cost import CostModel

if TYPE_CHECKING:
    from tests.service.conftest import Gate, Png, Serving
    from tests.service.edge.conftest import Details, Reason

Code = grpc.StatusCode


def pixels(encoded: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED))


async def test_picture_is_translated(serving: Serving, png: Png) -> None:
    async with serving({"invert/1": "invert"}) as service:
        answer = await service.translate(png(40, 20, 30), request_id="mine")
    assert (answer.request_id, answer.model, answer.version) == ("mine", "invert", "1")
    assert (answer.format, answer.height, answer.width, answer.channels) == (pb.PICTURE_FORMAT_PNG, 8, 8, 3)
    np.testing.assert_array_equal(pixels(answer.encoded), np.full((8, 8, 3), 215))
    assert answer.timings.batch_size == 1
    for stage in ("decode", "queue", "infer", "encode"):
        assert getattr(answer.timings, stage).ToNanoseconds() > 0


async def test_raw_pixels_in_and_out(serving: Serving) -> None:
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    request = pb.TranslateRequest(
        tensor=pb.Tensor(data=picture.tobytes(), height=8, width=8, channels=3),
        output=pb.OutputOptions(format=pb.PICTURE_FORMAT_RAW),
    )
    async with serving({"invert/1": "invert"}) as service:
        answer = await service.stub.Translate(request)
    assert answer.tensor == pb.Tensor(
        data=(255 - picture).tobytes(), height=8, width=8, channels=3, sample_type=pb.SAMPLE_TYPE_UINT8
    )
    assert answer.request_id, "the server makes up an id"


async def test_answer_at_the_inputs_size_without_the_margins_of_padding(serving: Serving, png: Png) -> None:
    output = pb.OutputOptions(format=pb.PICTURE_FORMAT_JPEG, quality=100, size=pb.OUTPUT_SIZE_INPUT)
    async with serving({"invert/1": "invert"}) as service:
        answer = await service.translate(png(0, 10, 40), fit=pb.FIT_PAD, output=output)
    assert (answer.format, answer.height, answer.width) == (pb.PICTURE_FORMAT_JPEG, 10, 40)
    np.testing.assert_array_equal(pixels(answer.encoded), np.full((10, 40, 3), 255))


BAD_REQUESTS = {
    "no picture": ({}, Code.INVALID_ARGUMENT, "INVALID_REQUEST", "no picture"),
    "empty picture": ({"encoded": b""}, Code.INVALID_ARGUMENT, "INVALID_PICTURE", "empty"),
    "no picture file": ({"encoded": b"plain text"}, Code.INVALID_ARGUMENT, "INVALID_PICTURE", "no PNG, JPEG or WebP"),
    "tensor too short": (
        {"tensor": pb.Tensor(data=b"12", height=1, width=1, channels=3)},
        Code.INVALID_ARGUMENT,
        "INVALID_PICTURE",
        "2 bytes",
    ),
    "tensor of the wrong channels": (
        {"tensor": pb.Tensor(data=b"12345", height=1, width=1, channels=5)},
        Code.INVALID_ARGUMENT,
        "INVALID_PICTURE",
        "5 channels",
    ),
    "tensor without height": (
        {"tensor": pb.Tensor(data=b"", height=0, width=1, channels=3)},
        Code.INVALID_ARGUMENT,
        "INVALID_PICTURE",
        "at least 1",
    ),
    "tensor of negative height": (
        {"tensor": pb.Tensor(data=b"", height=-1, width=1, channels=3)},
        Code.INVALID_ARGUMENT,
        "INVALID_PICTURE",
        "at least 1",
    ),
    "tensor too wide": (
        {"tensor": pb.Tensor(data=b"", height=1, width=1001, channels=3)},
        Code.INVALID_ARGUMENT,
        "PICTURE_TOO_LARGE",
        "1,000",
    ),
    "picture too wide": ("1 x 1001", Code.INVALID_ARGUMENT, "PICTURE_TOO_LARGE", "1,000"),
    "quality for PNG": (
        {"output": pb.OutputOptions(quality=90)},
        Code.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "quality is 90",
    ),
    "unknown fit": ({"fit": 99}, Code.INVALID_ARGUMENT, "INVALID_REQUEST", "fit is 99"),
    "unknown format": (
        {"output": pb.OutputOptions(format=99)},
        Code.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "output.format is 99",
    ),
    "unknown size": (
        {"output": pb.OutputOptions(size=99)},
        Code.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        "output.size is 99",
    ),
    "unknown model": ({"model": "nobody"}, Code.NOT_FOUND, "MODEL_NOT_FOUND", "no model 'nobody'"),
    "unknown version": ({"version": "9"}, Code.NOT_FOUND, "MODEL_NOT_FOUND", "no version '9'"),
    "request id with a line break": ({"request_id": "a\nb"}, Code.INVALID_ARGUMENT, "INVALID_REQUEST", "printable"),
    "request id too long": ({"request_id": "a" * 129}, Code.INVALID_ARGUMENT, "INVALID_REQUEST", "at most 128"),
}


async def test_bad_requests_are_told_what_is_wrong_and_the_server_goes_on(
    serving: Serving, png: Png, reason: Reason
) -> None:
    async with serving({"invert/1": "invert"}, max_picture_side=1000) as service:
        client = service.stub
        for name, (fields, code, wanted, words) in BAD_REQUESTS.items():
            given: Any = {"encoded": png(0, 1, 1001)} if isinstance(fields, str) else fields
            request = pb.TranslateRequest(**given)
            if name != "no picture" and not request.WhichOneof("picture"):
                request.encoded = png(0)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.Translate(request)
            assert (refused.value.code(), reason(refused.value)) == (code, wanted), name
            assert words in str(refused.value.details()), name
        assert (await service.translate(png(0))).encoded


async def test_message_beyond_any_picture_is_refused_by_grpc(serving: Serving) -> None:
    small = {"max_picture_bytes": 1000, "max_picture_pixels": 1000}
    async with serving({"invert/1": "invert"}, **small) as service:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(bytes(3_000_000))
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED


async def test_caller_chooses_among_models_and_versions(serving: Serving, png: Png) -> None:
    models = {"a/1": "identity", "a/2": "invert", "a/10": "identity", "b/1": "invert"}
    wanted = {("", ""): ("b", "1"), ("a", ""): ("a", "10"), ("a", "2"): ("a", "2"), ("b", "1"): ("b", "1")}
    async with serving(models, default_model="b", version_policy="all") as service:
        client = service.stub
        for (model, version), served in wanted.items():
            answer = await client.Translate(pb.TranslateRequest(model=model, version=version, encoded=png(0)))
            assert (answer.model, answer.version) == served
        listed = await client.ListModels(pb.ListModelsRequest())
        one = await client.GetModel(pb.GetModelRequest(model="a", version="2"))
    assert [(model.name, model.version) for model in listed.models] == [("a", "1"), ("a", "2"), ("a", "10"), ("b", "1")]
    assert one.model == listed.models[1]
    assert one.model == pb.Model(
        name="a",
        version="2",
        state=pb.MODEL_STATE_READY,
        input=pb.PictureSpec(height=8, width=8, channels=3, sample_type=pb.SAMPLE_TYPE_UINT8),
        output=pb.PictureSpec(height=8, width=8, channels=3, sample_type=pb.SAMPLE_TYPE_UINT8),
        provider="CPUExecutionProvider",
        max_batch_size=1,
    )


async def test_several_models_without_a_default_must_be_named(serving: Serving, png: Png, reason: Reason) -> None:
    async with serving({"a/1": "invert", "b/1": "invert"}) as service:
        for call in (
            service.translate(png(0)),
            service.stub.GetModel(pb.GetModelRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is Code.INVALID_ARGUMENT
            assert reason(refused.value) == "INVALID_REQUEST"
            assert "a, b" in str(refused.value.details())


async def test_full_queue_refuses_with_when_to_come_back(
    serving: Serving, png: Png, gate: Gate, reason: Reason, details: Details
) -> None:
    async with serving({"invert/1": "invert"}, max_queue=2) as service:
        gate.close()
        accepted = [asyncio.ensure_future(service.translate(png(0))) for _ in range(2)]
        await service.until(lambda: service.model.admission.requests == 2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.translate(png(0))
        gate.open()
        await asyncio.gather(*accepted)
    assert refused.value.code() is Code.RESOURCE_EXHAUSTED
    assert reason(refused.value) == "QUEUE_FULL"
    retry: Any = details(refused.value, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToNanoseconds() > 0


async def test_request_counts_with_all_the_bytes_that_it_will_hold(serving: Serving, png: Png, gate: Gate) -> None:
    async with serving({"invert/1": "invert"}) as service:
        gate.close()
        sent = png(0, 100, 90)
        small = asyncio.ensure_future(service.translate(sent))
        await service.until(lambda: gate.reached == [1])
        assert service.model.admission.bytes == len(sent) + 2 * 8 * 8 * 3
        output = pb.OutputOptions(size=pb.OUTPUT_SIZE_INPUT)
        large = asyncio.ensure_future(service.translate(sent, output=output))
        await service.until(lambda: service.model.admission.requests == 2)
        assert service.model.admission.bytes == 2 * len(sent) + 3 * 8 * 8 * 3 + 100 * 90 * 3
        gate.open()
        await asyncio.gather(small, large)
        assert service.model.admission.bytes == 0


async def test_batches_form_while_the_engine_is_busy(serving: Serving, png: Png, gate: Gate) -> None:
    async with serving({"invert/1": "invert"}, max_batch_size=4) as service:
        service.model.queue.costs = CostModel({1: 1.0, 4: 1.1})  # or a batch might not be worth it
        gate.close()
        calls = [asyncio.ensure_future(service.translate(png(0)))]
        await service.until(lambda: gate.reached == [1])
        calls += [asyncio.ensure_future(service.translate(png(level))) for level in range(6)]
        await service.until(lambda: service.model.queue.depth == 6)
        gate.open()
        answers = await asyncio.gather(*calls)
        metrics = (await service.get("/metrics")).text
    assert gate.reached == [1, 4, 2]
    assert [answer.timings.batch_size for answer in answers] == [1, 4, 4, 4, 4, 2, 2]
    assert [int(pixels(answer.encoded)[0, 0, 0]) for answer in answers[1:]] == [255, 254, 253, 252, 251, 250]
    assert 'lapis_batch_size_count{model="invert",version="1"} 3.0' in metrics


async def test_one_bad_row_fails_alone_and_its_caller_learns_an_error_id_only(
    serving: Serving, png: Png, gate: Gate, details: Details
) -> None:
    async with serving({"picky/1": "picky"}, max_batch_size=4) as service:
        gate.close()
        busy = asyncio.ensure_future(service.translate(png(0)))
        await service.until(lambda: gate.reached == [1])
        calls = [asyncio.ensure_future(service.translate(png(level))) for level in (1, 255, 3)]
        await service.until(lambda: service.model.queue.depth == 3)
        with capture_logs() as logs:
            gate.open()
            outcomes = await asyncio.gather(busy, *calls, return_exceptions=True)
    failed: Any = outcomes.pop(2)
    assert [int(pixels(answer.encoded)[0, 0, 0]) for answer in outcomes] == [0, 1, 3]
    assert failed.code() is Code.INTERNAL
    info: Any = details(failed, error_details_pb2.ErrorInfo)
    assert info.reason == "INFERENCE_FAILED"
    assert failed.details() == f"the server failed on this request; error id {info.metadata['error_id']}"
    (logged,) = [entry for entry in logs if entry["event"] == "request_failed"]
    assert logged["error_id"] == info.metadata["error_id"]
    assert "Gather" in repr(logged["exc_info"].__cause__), "the log has what the caller is spared"


async def test_cancelled_call_leaves_nothing_behind(serving: Serving, png: Png, gate: Gate) -> None:
    async with serving({"invert/1": "invert"}) as service:
        model = service.model
        gate.close()
        busy = asyncio.ensure_future(service.translate(png(0)))
        await service.until(lambda: gate.reached == [1])
        call = service.translate(png(1))
        waiting = asyncio.ensure_future(call)
        await service.until(lambda: model.queue.depth == 1)
        call.cancel()
        await service.until(lambda: model.queue.depth == 0 and model.admission.requests == 1)
        gate.open()
        await busy
        await asyncio.wait([waiting])
        metrics = (await service.get("/metrics")).text
    assert gate.reached == [1]
    assert 'lapis_request_seconds_count{code="CANCELLED",method="Translate",model="invert",version="1"} 1.0' in metrics


async def test_passed_deadline_ends_the_call_and_costs_the_engine_nothing(
    serving: Serving, png: Png, gate: Gate
) -> None:
    async with serving({"invert/1": "invert"}) as service:
        model = service.model
        gate.close()
        busy = asyncio.ensure_future(service.translate(png(0)))
        await service.until(lambda: gate.reached == [1])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.stub.Translate(pb.TranslateRequest(encoded=png(1)), timeout=0.3)
        await service.until(lambda: model.admission.requests == 1)
        gate.open()
        await busy
        metrics = (await service.get("/metrics")).text
    assert refused.value.code() is Code.DEADLINE_EXCEEDED
    assert gate.reached == [1]
    assert 'code="DEADLINE_EXCEEDED",method="Translate",model="invert",version="1"} 1.0' in metrics


async def test_bug_of_ours_is_told_by_its_id_alone(
    serving: Serving, png: Png, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving({"invert/1": "invert"}) as service:
        model = service.model
        monkeypatch.setattr(model.admission, "admit", lambda _: 1 / 0)
        with pytest.raises(grpc.aio.AioRpcError) as refused, capture_logs() as logs:
            await service.translate(png(0), request_id="unlucky")
    assert refused.value.code() is Code.INTERNAL
    assert reason(refused.value) == "INTERNAL"
    assert "division" not in str(refused.value.details())
    (logged,) = [entry for entry in logs if entry["event"] == "request_failed"]
    assert logged["request_id"] == "unlucky"
    assert isinstance(logged["exc_info"], ZeroDivisionError)


async def test_every_request_is_logged_once_with_its_id(serving: Serving, png: Png) -> None:
    async with serving({"invert/1": "invert"}) as service:
        with capture_logs() as logs:
            await service.translate(png(0), request_id="good")
            with pytest.raises(grpc.aio.AioRpcError):
                await service.translate(b"", request_id="bad")
    requests = [
        (entry["request_id"], entry["code"], entry["log_level"]) for entry in logs if entry["event"] == "request"
    ]
    assert requests == [("good", "OK", "debug"), ("bad", "INVALID_ARGUMENT", "info")]


async def test_names_that_callers_make_up_never_become_labels(
    serving: Serving, png: Png, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with serving({"invert/1": "invert"}) as service:
        for number in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await service.stub.Translate(pb.TranslateRequest(model=f"made-up-{number}", encoded=png(0)))
        metrics = (await service.get("/metrics")).text
    assert "made-up" not in metrics
    assert 'lapis_request_seconds_count{code="NOT_FOUND",method="Translate",model="",version=""} 3.0' in metrics
    assert 'lapis_refused_requests_total{model="",reason="MODEL_NOT_FOUND",version=""} 3.0' in metrics
