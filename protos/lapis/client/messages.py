"""What goes over the wire, as plain Python values: requests are built and answers are read here, for both clients."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar

from lapis.v1 import translation_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Mapping

Fit: TypeAlias = Literal["stretch", "pad", "crop"]
Format: TypeAlias = Literal["png", "jpeg", "webp", "raw"]
Size: TypeAlias = Literal["model", "input"]
# "unknown" stands for states that a newer server may have.
ModelState: TypeAlias = Literal["loading", "ready", "draining", "failed", "unknown"]

_FITS: dict[Fit, v1.Fit.ValueType] = {"stretch": v1.FIT_STRETCH, "pad": v1.FIT_PAD, "crop": v1.FIT_CROP}
_FORMATS: dict[Format, v1.PictureFormat.ValueType] = {
    "png": v1.PICTURE_FORMAT_PNG,
    "jpeg": v1.PICTURE_FORMAT_JPEG,
    "webp": v1.PICTURE_FORMAT_WEBP,
    "raw": v1.PICTURE_FORMAT_RAW,
}
_SIZES: dict[Size, v1.OutputSize.ValueType] = {"model": v1.OUTPUT_SIZE_MODEL, "input": v1.OUTPUT_SIZE_INPUT}
_FORMAT_OF = {value: word for word, value in _FORMATS.items()}
_STATE_OF: dict[v1.ModelState.ValueType, ModelState] = {
    v1.MODEL_STATE_LOADING: "loading",
    v1.MODEL_STATE_READY: "ready",
    v1.MODEL_STATE_DRAINING: "draining",
    v1.MODEL_STATE_FAILED: "failed",
}


@dataclass(frozen=True)
class Tensor:
    """Raw pixels: `height * width * channels` unsigned bytes, row by row from the top, a pixel's channels adjacent."""

    data: bytes
    height: int
    width: int
    channels: int


# Bytes are a PNG, JPEG or WebP file; a str is the path of one.
Picture: TypeAlias = bytes | Tensor | str | PathLike[str]


class TranslateOptions(TypedDict, total=False):
    """The keyword arguments of `translate`; each is optional."""

    model: str  # the server's default or only one where empty
    version: str  # the highest that is ready where empty
    fit: Fit  # how the picture is brought to the model's size; default "stretch"
    format: Format  # of the answer; default "png"
    quality: int  # of JPEG and WebP, 1 to 100; 0, the default, leaves it to the server (90)
    size: Size  # of the answer: the model's (default) or that of the picture that was sent
    request_id: str  # for logs and errors; made up where empty


@dataclass(frozen=True)
class Timings:
    """Seconds that each stage took on the server, and how many pictures went through the engine together."""

    decode: float
    queue: float
    infer: float
    encode: float
    batch_size: int

    @property
    def total(self) -> float:
        """Seconds of all stages together."""
        return self.decode + self.queue + self.infer + self.encode


@dataclass(frozen=True)
class Translation:
    """A translated picture: a file in `format`, or raw pixels (H, W, C) where that is "raw"."""

    picture: bytes
    format: Format
    height: int
    width: int
    channels: int
    model: str
    version: str
    timings: Timings
    request_id: str


@dataclass(frozen=True)
class PictureSpec:
    """What a model takes or gives; height and width are -1 where it takes any."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Model:
    """A version of a model in the server's repository; `provider` is empty until it is loaded."""

    name: str
    version: str
    state: ModelState
    input: PictureSpec
    output: PictureSpec
    provider: str
    max_batch_size: int
    metadata: dict[str, Any]  # what export wrote into the file: data set, licence, figures; empty where it holds none


def load(picture: Picture) -> bytes | Tensor:
    """Returns what is sent, read from disk where `picture` is a path."""
    return picture if isinstance(picture, bytes | Tensor) else Path(picture).read_bytes()


def translate_request(
    picture: bytes | Tensor,
    *,
    model: str = "",
    version: str = "",
    fit: Fit = "stretch",
    format: Format = "png",  # noqa: A002 (the field's name)
    quality: int = 0,
    size: Size = "model",
    request_id: str = "",
) -> v1.TranslateRequest:
    """Returns the request; raises ValueError for an option that is no such word. Takes TranslateOptions by keyword."""
    request = v1.TranslateRequest(
        model=model,
        version=version,
        request_id=request_id or uuid.uuid4().hex,
        fit=_value(_FITS, "fit", fit),
        output=v1.OutputOptions(
            format=_value(_FORMATS, "format", format), quality=quality, size=_value(_SIZES, "size", size)
        ),
    )
    if isinstance(picture, Tensor):
        request.tensor.CopyFrom(v1.Tensor(**vars(picture)))
    else:
        request.encoded = picture
    return request


def translation(response: v1.TranslateResponse) -> Translation:
    """Reads the answer to Translate."""
    timings = response.timings
    return Translation(
        picture=response.tensor.data if response.WhichOneof("picture") == "tensor" else response.encoded,
        format=_FORMAT_OF[response.format],
        height=response.height,
        width=response.width,
        channels=response.channels,
        model=response.model,
        version=response.version,
        timings=Timings(
            decode=timings.decode.ToTimedelta().total_seconds(),
            queue=timings.queue.ToTimedelta().total_seconds(),
            infer=timings.infer.ToTimedelta().total_seconds(),
            encode=timings.encode.ToTimedelta().total_seconds(),
            batch_size=timings.batch_size,
        ),
        request_id=response.request_id,
    )


def models(response: v1.ListModelsResponse) -> list[Model]:
    """Reads the answer to ListModels."""
    return [model(message) for message in response.models]


def model(message: v1.Model) -> Model:
    """Reads one model."""
    return Model(
        name=message.name,
        version=message.version,
        state=_STATE_OF.get(message.state, "unknown"),
        input=_spec(message.input),
        output=_spec(message.output),
        provider=message.provider,
        max_batch_size=message.max_batch_size,
        metadata=json.loads(message.metadata_json or "{}"),
    )


def _spec(message: v1.PictureSpec) -> PictureSpec:
    return PictureSpec(message.height, message.width, message.channels)


Word = TypeVar("Word", bound=str)
Value = TypeVar("Value", bound=int)


def _value(words: Mapping[Word, Value], option: str, word: Word) -> Value:
    if word not in words:
        raise ValueError(f"{option} must be one of {', '.join(words)}, not {word!r}")
    return words[word]
