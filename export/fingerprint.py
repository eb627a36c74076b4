"""A picture and its translation for the model file, so that a server can see whether it computes what was exported.

Both are PNG files, of 16 bits where the model's samples have as many: grey for one channel, RGB for three, and for any
other number grey with the channels one below the other. Of a large model only every k-th row and column is kept. k is
odd, so that every phase of its upsampling is seen. A model of any size is given the one that it was made for, and a
model with noise the seed 0.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from export.apart import Apart, among
from export.errors import ModelFileError
from export.metadata import Fingerprint

if TYPE_CHECKING:
    from export.data import Picture
    from export.metadata import Parity, PictureSpec
    from export.proof import Translate

MOST_PIXELS = 65_536  # 256 x 256: with both pictures a file grows by some 100 kB, and never by more than 1 MB
LEAST_DIFFERENCE = 2  # levels: another processor rounds otherwise, and a level more is no fault yet
SEED = 0
_SMALLEST_FILE = (cv2.IMWRITE_PNG_COMPRESSION, 9)


class Kept(NamedTuple):
    """What a fingerprint holds: the picture as the model was given it, and every k-th pixel of its translation."""

    given: Picture
    made: Picture


def take(translate: Translate, picture: Picture, parity: Parity, *, seeded: bool = False) -> Fingerprint:
    """Returns the fingerprint of a model, taken with `picture`, uint8 or uint16 [H, W, C].

    A server's arithmetic may be as far from this one's as PyTorch's was, and a level of 255 more.
    """
    every = _every(*picture.shape[:2])
    kept = picture[::every, ::every]
    made = _run(translate, _enlarged(kept, every, *picture.shape[:2]), seeded=seeded)
    return Fingerprint(
        input=_png(kept),
        translation=_png(made[::every, ::every]),
        every=every,
        max_difference=max(LEAST_DIFFERENCE, parity.max_difference + 1),
    )


def differ(
    translate: Translate, fingerprint: Fingerprint, given: PictureSpec, made: PictureSpec, *, seeded: bool
) -> Apart:
    """Returns how far the model's translation is from the one that was kept; raises ModelFileError as `unpack` does."""
    kept = unpack(fingerprint, given, made)
    found = _run(translate, kept.given, seeded=seeded)[:: fingerprint.every, :: fingerprint.every]
    return among(found[np.newaxis], kept.made[np.newaxis])


def unpack(fingerprint: Fingerprint, given: PictureSpec, made: PictureSpec) -> Kept:
    """Returns the pictures of a fingerprint; raises ModelFileError where they are not what the two sides say."""
    small = _picture("input", fingerprint.input, given, fingerprint.every)
    translation = _picture("translation", fingerprint.translation, made, fingerprint.every)
    return Kept(_enlarged(small, fingerprint.every, given.height, given.width), translation)


def _run(translate: Translate, picture: Picture, *, seeded: bool) -> Picture:
    made: Picture = translate(picture[np.newaxis], np.array([SEED], np.int64) if seeded else None)[0]
    return made


def _every(height: int, width: int) -> int:
    """Returns the smallest odd step at which few enough pixels are kept."""
    every = 1
    while -(-height // every) * -(-width // every) > MOST_PIXELS:
        every += 2
    return every


def _enlarged(kept: Picture, every: int, height: int, width: int) -> Picture:
    return np.ascontiguousarray(kept.repeat(every, axis=0).repeat(every, axis=1)[:height, :width])


def _png(pixels: Picture) -> str:
    height, width, channels = pixels.shape
    layout = pixels[..., ::-1] if channels == 3 else pixels.transpose(2, 0, 1).reshape(channels * height, width)
    _, file = cv2.imencode(".png", np.ascontiguousarray(layout), _SMALLEST_FILE)
    return base64.b64encode(file.tobytes()).decode()


def _picture(name: str, encoded: str, spec: PictureSpec, every: int) -> Picture:
    height, width, channels = -(-spec.height // every), -(-spec.width // every), spec.channels
    layout = (height, width, 3) if channels == 3 else (channels * height, width)
    try:
        file = np.frombuffer(base64.b64decode(encoded, validate=True), np.uint8)
        pixels = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
    except (binascii.Error, cv2.error):
        pixels = None
    if pixels is None or pixels.shape != layout or pixels.dtype != spec.dtype:
        raise ModelFileError(f"metadata fingerprint.{name} is damaged: no PNG file of {spec.dtype} {list(layout)}")
    if channels == 3:
        return np.ascontiguousarray(pixels[..., ::-1])
    return np.ascontiguousarray(pixels.reshape(channels, height, width).transpose(1, 2, 0))
