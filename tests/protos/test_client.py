from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from lapis.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidPicture,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PictureSpec,
    QueueFull,
    Tensor,
    TranslationError,
    Unreachable,
)
from lapis.client.errors import BY_REASON
from lapis.v1 import translation_pb2 as v1

from service import errors as service_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Server

    Call = Callable[..., Any]


def _in_a_thread(address: str, method: str, *arguments: object, **options: object) -> object:
    with Client(address) as client:
        return getattr(client, method)(*arguments, **options)


def _in_asyncio(address: str, method: str, *arguments: object, **options: object) -> object:
    async def call() -> object:
        async with AsyncClient(address) as client:
            return await getattr(client, method)(*arguments, **options)

    return asyncio.run(call())


@pytest.fixture(params=[_in_a_thread, _in_asyncio])
def call(request: pytest.FixtureRequest) -> Call:
    """Makes one call with a client of its own: what holds for one client must hold for the other."""
    return request.param


def test_answer_is_read_whole(server: Server, call: Call) -> None:
    translation = call(server.address, "translate", b"cat", model="edges2cats", version="7", request_id="42")
    assert translation.picture == b"translated cat"
    assert (translation.height, translation.width, translation.channels) == (2, 3, 1)
    assert (translation.model, translation.version, translation.request_id) == ("edges2cats", "7", "42")
    assert vars(translation.timings) == {
        "decode": 0.001,
        "queue": 0.002,
        "infer": 1.0,
        "encode": 0.004,
        "batch_size": 5,
    }
    assert translation.timings.total == pytest.approx(1.007)


def test_a_file_is_sent_by_its_path(server: Server, call: Call, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(b"cat")
    assert call(server.address, "translate", path).picture == b"translated cat"
    assert call(server.address, "translate", str(path)).picture == b"translated cat"


def test_missing_file_is_the_usual_error(server: Server, call: Call, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        call(server.address, "translate", tmp_path / "none.png")


def test_raw_pixels_go_and_come(server: Server, call: Call) -> None:
    translation = call(server.address, "translate", Tensor(b"012345", height=1, width=2, channels=3), format="raw")
    assert server.service.requests[0].tensor == v1.Tensor(
        data=b"012345", height=1, width=2, channels=3, sample_type=v1.SAMPLE_TYPE_UINT8
    )
    assert (translation.format, translation.picture) == ("raw", b"abcdef")


def test_options_reach_the_server(server: Server, call: Call) -> None:
    options = {"fit": "crop", "format": "jpeg", "quality": 75, "size": "input"}
    assert call(server.address, "translate", b"cat", **options).format == "jpeg"
    [request] = server.service.requests
    assert request.fit == v1.FIT_CROP
    assert request.output == v1.OutputOptions(format=v1.PICTURE_FORMAT_JPEG, quality=75, size=v1.OUTPUT_SIZE_INPUT)


def test_unknown_word_is_refused_before_anything_is_sent(server: Server, call: Call) -> None:
    with pytest.raises(ValueError, match="fit must be one of stretch, pad, crop, tile, none, not 'squash'"):
        call(server.address, "translate", b"cat", fit="squash")
    with pytest.raises(TypeError, match="colour"):
        call(server.address, "translate", b"cat", colour="red")
    assert server.service.requests == []


@pytest.mark.parametrize("reason", BY_REASON)
def test_each_reason_is_its_own_error(server: Server, call: Call, reason: str) -> None:
    with pytest.raises(TranslationError) as caught:
        call(server.address, "translate", f"fail {reason}".encode(), request_id="42")
    error = caught.value
    assert type(error) is BY_REASON[reason]
    assert (str(error), error.reason, error.request_id) == (f"sentence of {reason}", reason, "42")
    assert error.retry_after == (0.125 if isinstance(error, Overloaded) else None)


def test_every_reason_of_the_service_is_known() -> None:
    def below(error: type[service_errors.ServiceError]) -> set[str]:
        return {error.reason}.union(*map(below, error.__subclasses__()))

    assert below(service_errors.ServiceError) - {"INTERNAL"} == set(BY_REASON)


def test_bad_picture_is_a_bad_request(server: Server, call: Call) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call(server.address, "translate", b"fail INVALID_PICTURE")
    assert isinstance(caught.value, InvalidPicture)


def test_reason_from_a_newer_server_keeps_its_name(server: Server, call: Call) -> None:
    with pytest.raises(TranslationError) as caught:
        call(server.address, "translate", b"fail QUOTA_SPENT")
    assert type(caught.value) is TranslationError
    assert (caught.value.reason, caught.value.retry_after) == ("QUOTA_SPENT", 0.125)


def test_reasons_of_others_are_not_taken_for_ours(server: Server, call: Call) -> None:
    with pytest.raises(TranslationError) as caught:
        call(server.address, "translate", b"foreign")
    assert (type(caught.value), caught.value.reason) == (TranslationError, "INTERNAL")


def test_garbled_details_do_not_hide_the_error(server: Server, call: Call) -> None:
    with pytest.raises(TranslationError, match="sentence of the server") as caught:
        call(server.address, "translate", b"garbled")
    assert caught.value.code is grpc.StatusCode.INTERNAL


def test_error_can_be_quoted_without_having_named_the_request(server: Server, call: Call) -> None:
    with pytest.raises(TranslationError) as caught:
        call(server.address, "translate", b"fail INFERENCE_FAILED")
    assert caught.value.request_id == server.service.requests[0].request_id != ""


def test_unreachable_server_is_named(closed_address: str, call: Call) -> None:
    with pytest.raises(Unreachable, match=closed_address) as caught:
        call(closed_address, "translate", b"cat")
    assert caught.value.reason == "UNREACHABLE"


def test_server_of_another_kind_is_named(call: Call) -> None:
    stranger = grpc.server(ThreadPoolExecutor(1))
    address = f"127.0.0.1:{stranger.add_insecure_port('127.0.0.1:0')}"
    stranger.start()
    with pytest.raises(Unreachable, match=f"no Lapis server answers at {address}"):
        call(address, "list_models")
    stranger.stop(grace=None)


def test_timeout_is_the_deadline(server: Server, call: Call) -> None:
    with pytest.raises(DeadlineExceeded, match=f"no answer from {server.address} before the timeout"):
        call(server.address, "translate", b"hold", timeout=0.05)


def test_large_request_is_sent_again_when_the_server_is_not_ready(server: Server, call: Call) -> None:
    picture = b"fail once NOT_READY ".ljust(2**20, b"x")
    assert call(server.address, "translate", picture).picture == b"translated " + picture
    assert len(server.service.requests) == 2


def test_full_queue_is_left_to_the_caller(server: Server, call: Call) -> None:
    with pytest.raises(QueueFull):
        call(server.address, "translate", b"fail once QUEUE_FULL")
    assert len(server.service.requests) == 1


def test_models_are_described(server: Server, call: Call) -> None:
    [model] = call(server.address, "list_models")
    assert call(server.address, "get_model", "edges2emoji", "1") == model
    assert (model.name, model.version, model.state, model.max_batch_size) == ("edges2emoji", "1", "ready", 8)
    assert (model.input, model.output) == (
        PictureSpec(256, 256, 3),
        PictureSpec(512, 768, 1, multiple=256, smallest=256),
    )
    assert model.metadata["data"]["licence"] == "CC BY-SA 4.0"


def test_model_without_a_description_has_empty_metadata(server: Server, call: Call) -> None:
    server.service.models = [v1.Model(name="bare", version="1", state=v1.MODEL_STATE_FAILED)]
    assert call(server.address, "get_model").metadata == {}


def test_unknown_model_is_not_found(server: Server, call: Call) -> None:
    with pytest.raises(ModelNotFound) as caught:
        call(server.address, "get_model", "edges2dogs")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_state_from_a_newer_server_does_not_hide_the_models(server: Server, call: Call) -> None:
    server.service.models = [v1.Model(name="odd", version="1", state=99)]  # type: ignore[arg-type]
    assert [model.state for model in call(server.address, "list_models")] == ["unknown"]


def test_errors_survive_a_trip_between_processes() -> None:
    error = QueueFull("full", grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 0.5, "42")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), vars(copy), str(copy)) == (QueueFull, vars(error), "full")


def test_one_client_serves_many_threads(server: Server) -> None:
    pictures = [str(number).encode() for number in range(64)]
    with Client(server.address) as client, ThreadPoolExecutor(8) as threads:
        answers = [translation.picture for translation in threads.map(client.translate, pictures)]
    assert answers == [b"translated " + picture for picture in pictures]


async def test_cancelled_call_is_cancelled_on_the_server(server: Server) -> None:
    async with AsyncClient(server.address) as client:
        call = asyncio.ensure_future(client.translate(b"hold"))
        assert await asyncio.to_thread(server.service.held.wait, 30)
        call.cancel()
        assert await asyncio.to_thread(server.service.cancelled.wait, 30)


def test_fit_that_is_not_given_is_the_server_s_to_choose(server: Server, call: Call) -> None:
    call(server.address, "translate", b"cat")
    call(server.address, "translate", b"cat", fit="none")
    assert [request.fit for request in server.service.requests] == [v1.FIT_UNSPECIFIED, v1.FIT_NONE]


@pytest.mark.parametrize("seed", [0, 7, -1, -(2**63), 2**63 - 1, np.int64(12), np.uint8(3)])
def test_seed_goes_and_comes(server: Server, call: Call, seed: int) -> None:
    assert call(server.address, "translate", b"cat", seed=seed).seed == seed
    assert server.service.requests[0].seed == seed


def test_answer_has_no_seed_where_the_model_takes_none(server: Server, call: Call) -> None:
    assert call(server.address, "translate", b"cat").seed is None
    assert not server.service.requests[0].HasField("seed")


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (2**63, r"from -2\*\*63 to 2\*\*63 - 1"),
        (-(2**63) - 1, r"from -2\*\*63 to 2\*\*63 - 1"),
        (1.5, "a whole number, not 1.5"),
        ("7", "a whole number, not '7'"),
    ],
)
def test_seed_that_cannot_be_is_refused_before_anything_is_sent(
    server: Server, call: Call, seed: object, words: str
) -> None:
    with pytest.raises(ValueError, match=f"seed must be {words}"):
        call(server.address, "translate", b"cat", seed=seed)
    assert server.service.requests == []


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5), (4, 5, 7)])
def test_array_is_sent_as_the_pixels_it_shows(server: Server, call: Call, dtype: str, shape: tuple[int, ...]) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (8, 10, *shape[2:])).astype(dtype) * 3
    array = whole.astype(dtype)[::2, ::-2]  # neither contiguous nor in the order of its memory
    call(server.address, "translate", array)
    [sent] = [request.tensor for request in server.service.requests]
    assert (sent.height, sent.width, sent.channels) == (*shape, 1)[:3]
    wide = dtype != "u1"
    assert sent.sample_type == (v1.SAMPLE_TYPE_UINT16 if wide else v1.SAMPLE_TYPE_UINT8)
    assert np.array_equal(np.frombuffer(sent.data, "<u2" if wide else "u1").reshape(shape), array)


@pytest.mark.parametrize("array", [np.zeros((4, 5, 3)), np.zeros(5, np.uint8), np.zeros((2, 4, 5, 3), np.uint8)])
def test_array_that_is_no_picture_is_refused(server: Server, call: Call, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be \[H, W, C\] or \[H, W\] of uint8 or uint16, not \["):
        call(server.address, "translate", array)


def test_thing_that_is_no_picture_is_refused(server: Server, call: Call) -> None:
    with pytest.raises(TypeError, match="a NumPy array, not list"):
        call(server.address, "translate", [1, 2, 3])


def test_raw_answer_is_an_array_of_its_samples(server: Server, call: Call) -> None:
    answer = call(server.address, "translate", np.zeros((2, 3), np.uint8), format="raw")
    assert np.array_equal(np.asarray(answer), np.frombuffer(b"abcdef", np.uint8).reshape(2, 3, 1))
    deep = call(server.address, "translate", np.zeros((2, 3), np.uint16), format="raw")
    assert (deep.dtype, np.asarray(deep).dtype) == ("uint16", np.uint16)
    assert np.asarray(deep).ravel().tolist() == [97, 98, 99, 100, 101, 102 + 256]


def test_file_is_no_array(server: Server, call: Call) -> None:
    answer = call(server.address, "translate", b"cat")
    with pytest.raises(ValueError, match="is a png file and no raw pixels: ask for format='raw'"):
        np.asarray(answer)


def test_model_says_which_sizes_samples_and_seeds_it_takes(server: Server, call: Call) -> None:
    message = server.service.models[0]
    message.takes_seed = True
    message.input.sample_type, message.output.sample_type = v1.SAMPLE_TYPE_UINT8, v1.SAMPLE_TYPE_UINT16
    model = call(server.address, "get_model")
    assert model.takes_seed
    assert (model.input.dtype, model.output.dtype) == ("uint8", "uint16")
    assert (model.output.multiple, model.output.smallest) == (256, 256)
