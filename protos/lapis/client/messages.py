"""What is asked of the server, built from plain Python values, for both clients."""

from __future__ import annotations

import operator
import uuid
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, SupportsIndex, TypeAlias, TypedDict, TypeVar

from lapis.v1 import translation_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Mapping

Fit: TypeAlias = Literal["stretch", "pad", "crop", "tile", "none"]
Format: TypeAlias = Literal["png", "jpeg", "webp", "raw"]
Size: TypeAlias = Literal["model", "input"]
Priority: TypeAlias = Literal["high", "normal", "low"]
Samples: TypeAlias = Literal["uint8", "uint16"]

_FITS: dict[Fit, v1.Fit.ValueType] = {
    "stretch": v1.FIT_STRETCH,
    "pad": v1.FIT_PAD,
    "crop": v1.FIT_CROP,
    "tile": v1.FIT_TILE,
    "none": v1.FIT_NONE,
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


_SAMPLES: dict[Samples, v1.SampleType.ValueType] = {
    "uint8": v1.SAMPLE_TYPE_UINT8,
    "uint16": v1.SAMPLE_TYPE_UINT16,
}
# As NumPy writes them; those of two bytes are sent with the lower one first.
_ARRAY_TYPES: dict[str, Samples] = {"|u1": "uint8", "<u2": "uint16", ">u2": "uint16"}

SMALLEST_SEED, LARGEST_SEED = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Tensor:
    """Raw pixels: `height * width * channels` samples, row by row from the top, a pixel's channels adjacent.

    Samples are unsigned: one byte each, or two, the lower one first, where `dtype` is "uint16".
    """

    data: bytes
    height: int
    width: int
    channels: int
    dtype: Samples = "uint8"


class Array(Protocol):
    """A NumPy array: [H, W, C], or [H, W] for grey, of uint8 or uint16."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """NumPy's description of the memory."""

    @property
    def dtype(self) -> Any:  # noqa: ANN401 (NumPy's own)
        """The kind of the samples."""

    def tobytes(self) -> bytes:
        """Returns the samples, row by row."""


# Bytes are a PNG, JPEG or WebP file; a str is the path of one.
Picture: TypeAlias = bytes | Tensor | Array | str | PathLike[str]


class TranslateOptions(TypedDict, total=False):
    """The keyword arguments of `translate`; each is optional."""

    model: str  # the server's default or only one where empty
    version: str  # a number or a label; the highest that is ready where empty
    fit: (
        Fit  # how the picture is brought to a size that the model takes; "tile", "none": not at all. Default: "stretch"
    )
    # for a model of one size, and "none" for one that takes many
    format: Format  # of the answer; default "png"
    quality: int  # of JPEG and WebP, 1 to 100; 0, the default, leaves it to the server (90)
    size: Size  # of the answer: the model's (default) or that of the picture that was sent
    priority: Priority  # who goes first where requests wait; default "normal"
    request_id: str  # for logs and errors; made up where empty
    seed: int | None  # of a model's noise, any of 64 bits with a sign; None, the default: the server's 0
    previous_attempts: int  # how often it was refused for want of room before; default 0


def load(picture: Picture) -> bytes | Tensor:
    """Returns what is sent, read from disk where `picture` is a path; raises ValueError for an array that is none."""
    if isinstance(picture, bytes | Tensor):
        return picture
    if isinstance(picture, str | PathLike):
        return Path(picture).read_bytes()
    if hasattr(picture, "dtype") and hasattr(picture, "__array_interface__"):
        return _tensor(picture)
    raise TypeError(f"a picture is bytes, a path, a Tensor or a NumPy array, not {type(picture).__name__}")


def _tensor(array: Array) -> Tensor:
    layout = array.__array_interface__
    shape, kind = layout["shape"], layout["typestr"]
    if kind not in _ARRAY_TYPES or len(shape) not in {2, 3}:
        raise ValueError(f"an array must be [H, W, C] or [H, W] of uint8 or uint16, not {list(shape)} of {array.dtype}")
    data = array.tobytes()
    if kind.startswith(">"):
        swapped = bytearray(len(data))
        swapped[0::2], swapped[1::2] = data[1::2], data[0::2]
        data = bytes(swapped)
    height, width, channels = (*shape, 1)[:3]
    return Tensor(data, height, width, channels, _ARRAY_TYPES[kind])


def translate_request(
    picture: bytes | Tensor,
    *,
    model: str = "",
    version: str = "",
    fit: Fit | None = None,
    format: Format = "png",  # noqa: A002 (the field's name)
    quality: int = 0,
    size: Size = "model",
    priority: Priority = "normal",
    request_id: str = "",
    seed: int | None = None,
    previous_attempts: int = 0,
    timeout: float | None = None,
) -> v1.TranslateRequest:
    """Returns the request; raises ValueError for an option that cannot be. Takes TranslateOptions by keyword.

    `timeout`, in seconds, is the picture's own, for streams: a call of its own has its deadline for that.
    """
    request = v1.TranslateRequest(
        model=model,
        version=version,
        request_id=request_id or uuid.uuid4().hex,
        fit=v1.FIT_UNSPECIFIED if fit is None else _value(_FITS, "fit", fit),
        output=v1.OutputOptions(
            format=_value(FORMATS, "format", format), quality=quality, size=_value(_SIZES, "size", size)
        ),
        priority=_value(_PRIORITIES, "priority", priority),
        seed=None if seed is None else _seed(seed),
        previous_attempts=previous_attempts,
    )
    if timeout is not None:
        request.timeout.FromNanoseconds(int(timeout * 1e9))
    if isinstance(picture, Tensor):
        request.tensor.CopyFrom(_message(picture))
    else:
        request.encoded = picture
    return request


def _message(tensor: Tensor) -> v1.Tensor:
    return v1.Tensor(
        data=tensor.data,
        height=tensor.height,
        width=tensor.width,
        channels=tensor.channels,
        sample_type=_value(_SAMPLES, "dtype", tensor.dtype),
    )


def _seed(seed: SupportsIndex) -> int:
    """Returns the number, which may be one of NumPy's."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed must be a whole number, not {seed!r}") from None
    if not SMALLEST_SEED <= number <= LARGEST_SEED:
        raise ValueError(f"seed must be from -2**63 to 2**63 - 1 ({LARGEST_SEED}), not {number}")
    return number


Word = TypeVar("Word", bound=str)
Value = TypeVar("Value", bound=int)


def _value(words: Mapping[Word, Value], option: str, word: Word) -> Value:
    if word not in words:
        raise ValueError(f"{option} must be one of {', '.join(words)}, not {word!r}")
    return words[word]
