"""Between the messages of lapis.v1 and the service's own types."""

from __future__ import annotations

import math
import random
import re
from typing import TYPE_CHECKING, TypeVar

from lapis.v1 import translation_pb2 as pb

from service.errors import InvalidRequest
from service.models.registry import State
from service.picture.encode import Format
from service.picture.fit import Fit
from service.scheduler.priority import Priority
from service.translator import Order, RawPicture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.duration_pb2 import Duration

    from service.engine.contract import PictureShape, Samples
    from service.models.registry import ModelVersion, Registry
    from service.translator import Timings, Translation

K = TypeVar("K", bound=int)
V = TypeVar("V")

_FITS = {
    pb.FIT_STRETCH: Fit.STRETCH,
    pb.FIT_PAD: Fit.PAD,
    pb.FIT_CROP: Fit.CROP,
    pb.FIT_TILE: Fit.TILE,
    pb.FIT_NONE: Fit.NONE,
}
_SAMPLES: dict[pb.SampleType.ValueType, Samples] = {
    pb.SAMPLE_TYPE_UNSPECIFIED: "uint8",
    pb.SAMPLE_TYPE_UINT8: "uint8",
    pb.SAMPLE_TYPE_UINT16: "uint16",
}
_SAMPLE_TYPES = {samples: number for number, samples in _SAMPLES.items()}
_FORMATS = {
    pb.PICTURE_FORMAT_UNSPECIFIED: Format.PNG,
    pb.PICTURE_FORMAT_PNG: Format.PNG,
    pb.PICTURE_FORMAT_JPEG: Format.JPEG,
    pb.PICTURE_FORMAT_WEBP: Format.WEBP,
    pb.PICTURE_FORMAT_RAW: Format.RAW,
}
_AT_INPUT_SIZE = {pb.OUTPUT_SIZE_UNSPECIFIED: False, pb.OUTPUT_SIZE_MODEL: False, pb.OUTPUT_SIZE_INPUT: True}
_FORMAT_NUMBERS = {format_: number for number, format_ in _FORMATS.items()}
_PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    pb.PRIORITY_HIGH: Priority.HIGH,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_LOW: Priority.LOW,
}
_STATES = {
    State.LOADING: pb.MODEL_STATE_LOADING,
    State.READY: pb.MODEL_STATE_READY,
    # Like a model that loads: it does not take requests, and will without anyone doing anything.
    State.RECOVERING: pb.MODEL_STATE_LOADING,
    State.DRAINING: pb.MODEL_STATE_DRAINING,
    State.FAILED: pb.MODEL_STATE_FAILED,
    State.UNLOADED: pb.MODEL_STATE_UNLOADED,
}
# What google.protobuf.Duration says of itself: ten thousand years, and parts of a second with the sign of the seconds.
_LONGEST_DURATION = 315_576_000_000
_NANOSECONDS = 1_000_000_000
_REQUEST_ID = re.compile(r"[ -~]{1,128}")


def request_id(request: pb.TranslateRequest) -> str:
    """Return the caller's request id, or one made up; raises InvalidRequest."""
    if not request.request_id:
        return f"{random.getrandbits(128):032x}"  # an id and no secret: the system's generator costs 0.1 ms a call
    if not _REQUEST_ID.fullmatch(request.request_id):
        raise InvalidRequest("request_id must be at most 128 printable ASCII characters")
    return request.request_id


def timeout(request: pb.TranslateRequest) -> float:
    """Return how long the picture may take, in seconds; infinity where it does not say. Raises InvalidRequest."""
    if not request.HasField("timeout"):
        return math.inf
    given: Duration = request.timeout
    if not 0 <= given.seconds <= _LONGEST_DURATION or not 0 <= given.nanos < _NANOSECONDS:
        raise InvalidRequest(
            f"timeout is {given.seconds} s and {given.nanos} ns; it must be at least 0, with 0 to 999,999,999 ns in it"
        )
    return given.seconds + given.nanos / _NANOSECONDS


def order(request: pb.TranslateRequest, deadline: float, caller: str, *, any_size: bool = False) -> Order:
    """Return what is wanted of a model, which takes any size or one; `deadline` is on the monotonic clock.

    Raises InvalidRequest.
    """
    if request.previous_attempts < 0:
        raise InvalidRequest(f"previous_attempts is {request.previous_attempts}; it must be at least 0")
    output = request.output
    usual = Fit.NONE if any_size else Fit.STRETCH
    return Order(
        picture=_picture(request),
        fit=_known({pb.FIT_UNSPECIFIED: usual, **_FITS}, "fit", request.fit),
        format=_known(_FORMATS, "output.format", output.format),
        quality=output.quality,
        at_input_size=_known(_AT_INPUT_SIZE, "output.size", output.size),
        deadline=deadline,
        priority=_known(_PRIORITIES, "priority", request.priority),
        caller=caller,
        seed=request.seed if request.HasField("seed") else None,
        is_repeat=request.previous_attempts > 0,
    )


def response(request_id: str, model: ModelVersion, wanted: Order, made: Translation) -> pb.TranslateResponse:
    """Return the answer to a translated picture."""
    answer = pb.TranslateResponse(
        request_id=request_id,
        format=_FORMAT_NUMBERS[wanted.format],
        height=made.height,
        width=made.width,
        channels=made.channels,
        model=model.name,
        version=str(model.version),
        cached=made.cached,
        tiles=made.tiles,
        seed=made.seed,
    )
    _fill(answer.timings, made.timings)
    if wanted.format is Format.RAW:
        answer.tensor.data = made.data
        answer.tensor.height, answer.tensor.width, answer.tensor.channels = made.height, made.width, made.channels
        answer.tensor.sample_type = _sample_type(made)
    else:
        answer.encoded = made.data
    return answer


def model_message(registry: Registry, model: ModelVersion) -> pb.Model:
    """Return the description of a version; what is known only from loading it is empty until then."""
    message = pb.Model(
        name=model.name, version=str(model.version), state=_STATES[model.state], labels=registry.labels(model)
    )
    if model.loaded:
        engine = model.loaded.engine
        message.input.CopyFrom(_spec(engine.input))
        message.output.CopyFrom(_spec(engine.output))
        message.provider = engine.provider
        message.max_batch_size = model.loaded.max_batch_size
        message.metadata_json = engine.metadata_json
        message.takes_seed = engine.takes_seed
    return message


def _picture(request: pb.TranslateRequest) -> bytes | RawPicture:
    match request.WhichOneof("picture"):
        case "encoded":
            return request.encoded
        case "tensor":
            tensor = request.tensor
            samples = _known(_SAMPLES, "tensor.sample_type", tensor.sample_type)
            return RawPicture(tensor.data, tensor.height, tensor.width, tensor.channels, samples)
        case _:
            raise InvalidRequest("the request has no picture; set encoded or tensor")


def _known(values: Mapping[K, V], field: str, number: K) -> V:
    """Look up an enum's number; proto3 lets through numbers that no version of the protocol has named."""
    if number not in values:
        raise InvalidRequest(f"{field} is {number}, which this server does not know")
    return values[number]


def _spec(shape: PictureShape) -> pb.PictureSpec:
    return pb.PictureSpec(
        height=shape.height,
        width=shape.width,
        channels=shape.channels,
        multiple=shape.multiple,
        smallest=shape.smallest,
        sample_type=_SAMPLE_TYPES[shape.dtype],
    )


def _sample_type(made: Translation) -> pb.SampleType.ValueType:
    """Return the kind of bare samples, which their number tells; the model may be another one by now."""
    is_wide = len(made.data) > made.height * made.width * made.channels
    return pb.SAMPLE_TYPE_UINT16 if is_wide else pb.SAMPLE_TYPE_UINT8


def _fill(message: pb.Timings, timings: Timings) -> None:
    message.batch_size = timings.batch_size
    for field, seconds in (
        (message.decode, timings.decode),
        (message.queue, timings.queue),
        (message.infer, timings.infer),
        (message.encode, timings.encode),
    ):
        field.seconds, field.nanos = divmod(round(seconds * _NANOSECONDS), _NANOSECONDS)
