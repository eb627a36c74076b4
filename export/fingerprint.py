"""A picture and its translation for the model file, so that a server can see whether it computes what was exported.

Both are PNG files: grey for one channel, RGB for three, and for any other number grey with the channels one below the
other. Of a large model only every k-th row and column is kept. k is odd, so that every phase of its upsampling is seen.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from export.metadata import Fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.metadata import Parity
    from export.proof import Translate

    Pixels = NDArray[np.uint8]

MOST_PIXELS = 65_536  # 256 x 256: with both pictures a file grows by some 100 kB, and never by more than 1 MB
LEAST_DIFFERENCE = 2  # levels: another processor rounds otherwise, and a level more is no fault yet


def take(translate: Translate, picture: Pixels, parity: Parity) -> Fingerprint:
    """Returns the fingerprint of a model, taken with `picture`, uint8 [H, W, C].

    A server's arithmetic may be as far from this one's as PyTorch's was, and a level more.
    """
    every = _every(*picture.shape[:2])
    kept = picture[::every, ::every]
    given = kept.repeat(every, axis=0).repeat(every, axis=1)[: picture.shape[0], : picture.shape[1]]
    made = translate(np.ascontiguousarray(given)[np.newaxis])[0]
    return Fingerprint(
        input=_png(kept),
        translation=_png(made[::every, ::every]),
        every=every,
        max_difference=max(LEAST_DIFFERENCE, parity.max_difference + 1),
    )


def _every(height: int, width: int) -> int:
    """Returns the smallest odd step at which few enough pixels are kept."""
    every = 1
    while -(-height // every) * -(-width // every) > MOST_PIXELS:
        every += 2
    return every


def _png(pixels: Pixels) -> str:
    height, width, channels = pixels.shape
    layout = pixels if channels == 3 else pixels.transpose(2, 0, 1).reshape(channels * height, width)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(layout)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
