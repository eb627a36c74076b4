"""What the server answers, as plain Python values, for both clients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lapis.client.messages import FORMATS, Format, Samples
from lapis.v1 import repository_pb2 as repository
from lapis.v1 import translation_pb2 as v1

# "unknown" stands for states that a newer server may have.
ModelState: TypeAlias = Literal["loading", "ready", "draining", "failed", "unloaded", "unknown"]

_FORMAT_OF = {value: word for word, value in FORMATS.items()}
# A server that knows no kinds of samples has one.
_SAMPLES_OF: dict[v1.SampleType.ValueType, Samples] = {
    v1.SAMPLE_TYPE_UNSPECIFIED: "uint8",
    v1.SAMPLE_TYPE_UINT8: "uint8",
    v1.SAMPLE_TYPE_UINT16: "uint16",
}
_STATE_OF: dict[v1.ModelState.ValueType, ModelState] = {
    v1.MODEL_STATE_LOADING: "loading",
    v1.MODEL_STATE_READY: "ready",
    v1.MODEL_STATE_DRAINING: "draining",
    v1.MODEL_STATE_FAILED: "failed",
    v1.MODEL_STATE_UNLOADED: "unloaded",
}


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
    """A translated picture: a file in `format`, or raw pixels (H, W, C) where that is "raw".

    Of raw pixels `numpy.asarray(translation)` makes an array [H, W, C] of `dtype`, which is read-only and no copy.
    """

    picture: bytes
    format: Format
    height: int
    width: int
    channels: int
    model: str
    version: str
    timings: Timings
    request_id: str
    cached: bool = False  # answered without the engine, from an earlier request with the same picture and options
    tiles: int = 1  # that the picture was cut into; more than 1 with fit="tile" only
    seed: int | None = None  # that the noise came from; None: the model takes none
    dtype: Samples = "uint8"  # of raw pixels; samples of 16 bits have the lower byte first

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The raw pixels as NumPy takes them in; raises ValueError where there is a file instead."""
        if self.format != "raw":
            raise ValueError(f"the translation is a {self.format} file and no raw pixels: ask for format='raw'")
        typestr = "<u2" if self.dtype == "uint16" else "|u1"
        shape = (self.height, self.width, self.channels)
        return {"version": 3, "shape": shape, "typestr": typestr, "data": self.picture}


@dataclass(frozen=True)
class PictureSpec:
    """What a model takes or gives.

    Where `multiple` is 0, height x width is the only size. Otherwise both may be any multiples of it from `smallest`
    on, up to the server's limits, and height x width is the size that the model was made for.
    """

    height: int
    width: int
    channels: int
    multiple: int = 0
    smallest: int = 0
    dtype: Samples = "uint8"


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
    labels: tuple[str, ...] = ()  # names under which this version may be asked for, as in "latest", "stable", "canary"
    takes_seed: bool = False  # whether `seed` chooses among many translations


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
        cached=response.cached,
        tiles=response.tiles or 1,  # a server that knows no tiles counts none
        seed=response.seed if response.HasField("seed") else None,
        dtype=_SAMPLES_OF[response.tensor.sample_type],
    )


def models(response: v1.ListModelsResponse | repository.UnloadModelResponse) -> list[Model]:
    """Reads the models of an answer."""
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
        labels=tuple(message.labels),
        takes_seed=message.takes_seed,
    )


def _spec(message: v1.PictureSpec) -> PictureSpec:
    return PictureSpec(
        message.height,
        message.width,
        message.channels,
        message.multiple,
        message.smallest,
        _SAMPLES_OF[message.sample_type],
    )
