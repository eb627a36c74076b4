from __future__ import annotations

import math
import re

import pytest
from google.protobuf.duration_pb2 import Duration
from lapis.v1 import translation_pb2 as pb

from service.edge import messages
from service.errors import InvalidRequest
from service.models.registry import State
from service.picture.encode import Format
from service.picture.fit import Fit
from service.scheduler.priority import Priority
from service.translator import RawPicture, Timings, Translation


def request(**fields: object) -> pb.TranslateRequest:
    return pb.TranslateRequest(encoded=b"picture", **fields)


def test_request_without_options_has_the_defaults_of_the_contract() -> None:
    wanted = messages.order(request(), 12.5, "someone")
    assert (wanted.picture, wanted.deadline, wanted.caller) == (b"picture", 12.5, "someone")
    assert (wanted.fit, wanted.format, wanted.priority) == (Fit.STRETCH, Format.PNG, Priority.NORMAL)
    assert not wanted.at_input_size


def test_every_value_of_every_enum_means_something() -> None:
    for fit in pb.Fit.values():
        messages.order(request(fit=fit), 0, "")
    for priority in pb.Priority.values():
        messages.order(request(priority=priority), 0, "")
    for number in pb.PictureFormat.values():
        messages.order(request(output=pb.OutputOptions(format=number)), 0, "")
    for size in pb.OutputSize.values():
        messages.order(request(output=pb.OutputOptions(size=size)), 0, "")


@pytest.mark.parametrize(
    ("priority", "means"),
    [(pb.PRIORITY_HIGH, Priority.HIGH), (pb.PRIORITY_NORMAL, Priority.NORMAL), (pb.PRIORITY_LOW, Priority.LOW)],
)
def test_priority_is_the_caller_s(priority: pb.Priority, means: Priority) -> None:
    assert messages.order(request(priority=priority), 0, "").priority is means


def test_tiles_are_asked_for_by_their_name() -> None:
    assert messages.order(request(fit=pb.FIT_TILE), 0, "").fit is Fit.TILE


@pytest.mark.parametrize("fields", [{"priority": 9}, {"fit": 9}, {"output": pb.OutputOptions(format=9)}])
def test_number_that_no_version_has_named_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=r"is 9, which this server does not know"):
        messages.order(request(**fields), 0, "")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, math.inf),
        (Duration(), 0),
        (Duration(seconds=2, nanos=500_000_000), 2.5),
        (Duration(nanos=1), 1e-9),
        (Duration(seconds=315_576_000_000), 315_576_000_000),
    ],
)
def test_timeout_is_read_in_seconds(given: Duration | None, seconds: float) -> None:
    assert messages.timeout(request(timeout=given)) == seconds


@pytest.mark.parametrize(
    "given",
    [
        Duration(seconds=-1),
        Duration(nanos=-1),
        Duration(seconds=1, nanos=-1),
        Duration(seconds=-1, nanos=1),
        Duration(nanos=1_000_000_000),
        Duration(seconds=315_576_000_001),
        Duration(seconds=2**63 - 1),
    ],
)
def test_timeout_that_cannot_be_is_refused(given: Duration) -> None:
    with pytest.raises(InvalidRequest, match=f"timeout is {given.seconds} s and {given.nanos} ns"):
        messages.timeout(request(timeout=given))


def test_id_is_made_up_where_there_is_none() -> None:
    made_up = {messages.request_id(request()) for _ in range(100)}
    assert len(made_up) == 100
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made_up)


@pytest.mark.parametrize("given", ["a\nb", "é", "x" * 129, "\x7f"])
def test_id_that_would_spoil_the_log_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequest, match="request_id"):
        messages.request_id(request(request_id=given))


def test_raw_pixels_are_taken_as_they_are() -> None:
    raw = pb.TranslateRequest(tensor=pb.Tensor(data=b"abc", height=1, width=1, channels=3))
    assert messages.order(raw, 0, "").picture == RawPicture(b"abc", 1, 1, 3, "uint8")


@pytest.mark.parametrize(("number", "dtype"), [(pb.SAMPLE_TYPE_UINT8, "uint8"), (pb.SAMPLE_TYPE_UINT16, "uint16")])
def test_raw_pixels_are_of_the_kind_that_the_caller_says(number: pb.SampleType, dtype: str) -> None:
    raw = pb.TranslateRequest(tensor=pb.Tensor(data=b"abcdef", height=1, width=1, channels=3, sample_type=number))
    picture = messages.order(raw, 0, "").picture
    assert isinstance(picture, RawPicture)
    assert picture.dtype == dtype


def test_kind_of_samples_that_no_version_has_named_is_refused() -> None:
    raw = pb.TranslateRequest(tensor=pb.Tensor(data=b"abc", height=1, width=1, channels=3, sample_type=9))
    with pytest.raises(InvalidRequest, match=r"tensor\.sample_type is 9, which this server does not know"):
        messages.order(raw, 0, "")


@pytest.mark.parametrize(("any_size", "fit"), [(False, Fit.STRETCH), (True, Fit.NONE)])
def test_fit_that_is_not_given_is_the_model_s_usual_one(any_size: bool, fit: Fit) -> None:
    assert messages.order(request(), 0, "", any_size=any_size).fit is fit
    assert messages.order(request(fit=pb.FIT_PAD), 0, "", any_size=any_size).fit is Fit.PAD
    assert messages.order(request(fit=pb.FIT_NONE), 0, "", any_size=any_size).fit is Fit.NONE


@pytest.mark.parametrize("seed", [None, 0, 1, -(2**63), 2**63 - 1])
def test_seed_is_the_caller_s_and_none_where_there_is_none(seed: int | None) -> None:
    assert messages.order(request(seed=seed), 0, "").seed == seed
    wanted = messages.order(request(), 0, "")
    answer = messages.response("id", Model, wanted, Translation(b"abc", 1, 1, 3, NO_TIME, seed=seed))
    assert (answer.HasField("seed"), answer.seed) == (seed is not None, seed or 0)


@pytest.mark.parametrize(("data", "number"), [(bytes(6), pb.SAMPLE_TYPE_UINT8), (bytes(12), pb.SAMPLE_TYPE_UINT16)])
def test_raw_answer_says_of_what_kind_its_samples_are(data: bytes, number: pb.SampleType) -> None:
    wanted = messages.order(request(output=pb.OutputOptions(format=pb.PICTURE_FORMAT_RAW)), 0, "")
    assert messages.response("id", Model, wanted, Translation(data, 1, 2, 3, NO_TIME)).tensor.sample_type == number


NO_TIME = Timings(0, 0, 0, 0, 1)


class Model:
    name, version = "m", 7


@pytest.mark.parametrize("number", [pb.PICTURE_FORMAT_JPEG, pb.PICTURE_FORMAT_RAW])
def test_answer_says_how_it_came_to_be(number: pb.PictureFormat) -> None:
    wanted = messages.order(request(output=pb.OutputOptions(format=number)), 0, "")
    timings = Timings(decode=0.25, queue=1.5, infer=61.000000001, encode=0, batch_size=3)
    answer = messages.response("id", Model, wanted, Translation(b"abcdef", 1, 2, 3, timings, cached=True, tiles=9))
    assert not answer.HasField("seed")
    assert (answer.request_id, answer.model, answer.version) == ("id", "m", "7")
    assert (answer.format, answer.height, answer.width, answer.channels) == (number, 1, 2, 3)
    assert (answer.cached, answer.tiles, answer.timings.batch_size) == (True, 9, 3)
    stages = (answer.timings.decode, answer.timings.queue, answer.timings.infer, answer.timings.encode)
    assert [stage.ToNanoseconds() for stage in stages] == [250_000_000, 1_500_000_000, 61_000_000_001, 0]
    if number == pb.PICTURE_FORMAT_RAW:
        assert answer.tensor == pb.Tensor(
            data=b"abcdef", height=1, width=2, channels=3, sample_type=pb.SAMPLE_TYPE_UINT8
        )
    else:
        assert answer.encoded == b"abcdef"


def test_every_state_of_a_model_is_told() -> None:
    assert set(messages._STATES) == set(State)
    assert messages._STATES[State.RECOVERING] == pb.MODEL_STATE_LOADING
