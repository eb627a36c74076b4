from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from service.picture.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@pytest.fixture
def limits() -> Limits:
    return Limits(max_bytes=20_000_000, max_side=8192, max_pixels=16_000_000)


@pytest.fixture(scope="session")
def drawing() -> NDArray[np.uint8]:
    """Returns 60 x 90 RGB pixels on which no two orientations or channel orders look alike."""
    y, x = np.mgrid[0:60, 0:90]
    return np.stack([x * 2, y * 4, 255 - x], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def save() -> Callable[..., bytes]:
    """Returns a function that has Pillow write an array or picture as a file of a format."""

    def save(picture: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002
        file = BytesIO()
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(file, format, **options)
        return file.getvalue()

    return save
