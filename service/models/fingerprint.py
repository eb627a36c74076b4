"""A model's own proof: a picture that export put into the file, and what the exported graph made of it.

The pictures are PNG files, of 16 bits where the model's samples are: grey for one channel, RGB for three, and for any
other number grey with the channels one below the other. They have the size that the model was made for; a model that
takes seeds was given 0. Of a large model every k-th row and column is kept, k odd, so that every phase of its
upsampling is seen; what went in was the kept picture, each pixel repeated k times in both directions and cut to size.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import cv2
import numpy as np

from service.engine.providers import CPU
from service.errors import InferenceFailed, StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.engine.contract import PictureShape, Pixels, Samples
    from service.engine.engine import Engine
    from service.models.metadata import Fingerprint

# GPUs multiply with 11 bits (TF32, halves) where the CPU has 24. There a pixel may be this many times further off, as
# long as the mean difference stays below half of what a single pixel may differ on the CPU.
_SLACK = 8


def check(engine: Engine) -> None:
    """Run the model's own picture on every lane, and in the largest batch, and compare; nothing where there is none.

    Raises StartupError when what comes out is not what export saw, or when the model cannot run it.
    """
    kept = engine.description.fingerprint
    if kept is None:
        return
    picture = _input(kept, engine.input)
    expected = _decode("translation", kept.translation, engine.output, kept.every)
    for made in _runs(engine, picture):
        _compare(made[:: kept.every, :: kept.every], expected, kept.max_difference, exact=engine.provider == CPU)


def _runs(engine: Engine, picture: Pixels) -> Iterator[Pixels]:
    """Yield what the engine makes of the picture, wherever and however it may be run."""
    smallest, largest = engine.buckets[0], engine.buckets[-1]
    runs = [(lane, smallest) for lane in range(engine.lanes)] + [(0, largest)] * (largest != smallest)
    for lane, bucket in runs:
        try:
            seeds = [0] * bucket if engine.takes_seed else []
            yield from engine.run(lane, engine.prepare(lane, [picture] * bucket, bucket, seeds))
        except InferenceFailed as error:
            raise StartupError("the model fails on the picture that it was exported with") from error


def _compare(made: Pixels, expected: Pixels, accepted: float, *, exact: bool) -> None:
    distance = np.abs(made.astype(np.int32) - expected.astype(np.int32)) / (np.iinfo(made.dtype).max / 255)
    largest, mean = float(distance.max()), float(distance.mean())
    if largest > (accepted if exact else accepted * _SLACK) or (not exact and mean > accepted / 2):
        raise StartupError(
            f"the picture that the model was exported with comes out up to {largest:.4g} of 255 levels off, "
            f"{mean:.2f} on average, where {accepted:g} are accepted on the CPU: the file is damaged, or it is "
            "computed wrongly here"
        )


def _input(kept: Fingerprint, shape: PictureShape) -> Pixels:
    small = _decode("input", kept.input, shape, kept.every)
    large = small.repeat(kept.every, axis=0).repeat(kept.every, axis=1)
    return np.ascontiguousarray(large[: shape.height, : shape.width])


def _decode(name: str, file: str, shape: PictureShape, every: int) -> Pixels:
    """Return the picture [H, W, C] in a PNG file in base64; raises StartupError unless it has that shape, thinned."""
    height, width, channels = -(-shape.height // every), -(-shape.width // every), shape.channels
    pixels = _pixels(file, shape.dtype)
    layout = (height, width, 3) if channels == 3 else (height * channels, width)
    if pixels is None or pixels.shape != layout:
        samples = "bytes" if shape.dtype == "uint8" else "16 bits"
        found = f"no picture of {samples}" if pixels is None else f"a picture of {list(pixels.shape)} {samples}"
        raise StartupError(f"metadata 'lapis': fingerprint.{name} is {found}; expected a PNG file of {list(layout)}")
    if channels == 3:
        return np.ascontiguousarray(pixels[..., ::-1])
    return np.ascontiguousarray(pixels.reshape(channels, height, width).transpose(1, 2, 0))


def _pixels(file: str, dtype: Samples) -> Pixels | None:
    try:
        encoded = np.frombuffer(base64.b64decode(file, validate=True), np.uint8)
        decoded = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    except (ValueError, cv2.error):  # no base64; no bytes at all
        return None
    return None if decoded is None or decoded.dtype != dtype else np.asarray(decoded, dtype)
