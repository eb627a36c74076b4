"""What is asked of the server, built from plain Python values, for both clients."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, TypeVar

from lapis.v1 import translation_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Mapping

Fit: TypeAlias = Literal["stretch", "pad", "crop", "tile"]
Format: TypeAlias = Literal["png", "jpeg", "webp", "raw"]
Size: TypeAlias = Literal["model", "input"]
Priority: TypeAlias = Literal["high", "normal", "low"]

_FITS: dict[Fit, v1.Fit.ValueType] = {
    "stretch": v1.FIT_STRETCH,
    "pad": v1.FIT_PAD,
    "crop": v1.FIT_CROP,
    "tile": v1.FIT_TILE,
}
FORMATS: dict[Format, v1.PictureFormat.ValueType] = {
    "png": v1.PICTURE_FORMAT_PNG,
    "jpeg": v1.PICTURE_FORMAT_JPEG,
    "webp": v1.PICTURE_FORMAT_WEBP,
    "raw": v1.PICTURE_FORMAT_RAW,
}
_SIZES: dict[Size, v1.OutputSize.ValueType] = {"model": v1.OUTPUT_SIZE_MODEL, "input": v1.OUTPUT_SIZE_INPUT}
_PRIORITIES: dict[Priority, v1.Priority.ValueType] = {
    "high": v1.PRIORITY_HIGH,
    "normal": v1.PRIORITY_NORMAL,
    "low": v1.PRIORITY_LOW,
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
    version: str  # a number or a label; the highest that is ready where empty
    fit: Fit  # how the picture is brought to the model's size, or "tile": not at all; default "stretch"
    format: Format  # of the answer; default "png"
    quality: int  # of JPEG and WebP, 1 to 100; 0, the default, leaves it to the server (90)
    size: Size  # of the answer: the model's (default) or that of the picture that was sent
    priority: Priority  # who goes first where requests wait; default "normal"
    request_id: str  # for logs and errors; made up where empty


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
    priority: Priority = "normal",
    request_id: str = "",
    timeout: float | None = None,
) -> v1.TranslateRequest:
    """Returns the request; raises ValueError for an option that is no such word. Takes TranslateOptions by keyword.

    `timeout`, in seconds, is the picture's own, for streams: a call of its own has its deadline for that.
    """
    request = v1.TranslateRequest(
        model=model,
        version=version,
        request_id=request_id or uuid.uuid4().hex,
        fit=_value(_FITS, "fit", fit),
        output=v1.OutputOptions(
            format=_value(FORMATS, "format", format), quality=quality, size=_value(_SIZES, "size", size)
        ),
        priority=_value(_PRIORITIES, "priority", priority),
    )
    if timeout is not None:
        request.timeout.FromNanoseconds(int(timeout * 1e9))
    if isinstance(picture, Tensor):
        request.tensor.CopyFrom(v1.Tensor(**vars(picture)))
    else:
        request.encoded = picture
    return request


Word = TypeVar("Word", bound=str)
Value = TypeVar("Value", bound=int)


def _value(words: Mapping[Word, Value], option: str, word: Word) -> Value:
    if word not in words:
        raise ValueError(f"{option} must be one of {', '.join(words)}, not {word!r}")
    return words[word]
