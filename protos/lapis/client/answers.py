"""What the server answers, as plain Python values, for both clients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lapis.client.messages import FORMATS, Format
from lapis.v1 import repository_pb2 as repository
from lapis.v1 import translation_pb2 as v1

# "unknown" stands for states that a newer server may have.
ModelState: TypeAlias = Literal["loading", "ready", "draining", "failed", "unloaded", "unknown"]

_FORMAT_OF = {value: word for word, value in FORMATS.items()}
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
    cached: bool = False  # answered without the engine, from an earlier request with the same picture and options
    tiles: int = 1  # that the picture was cut into; more than 1 with fit="tile" only


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
    labels: tuple[str, ...] = ()  # names under which this version may be asked for, as in "latest", "stable", "canary"


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
    )


def _spec(message: v1.PictureSpec) -> PictureSpec:
    return PictureSpec(message.height, message.width, message.channels)
