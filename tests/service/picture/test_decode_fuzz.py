"""Files that nobody would write: decoding them gives a picture or one of the two errors it may raise, and no other."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidPicture, PictureTooLarge
from service.limits import Limits
from service.picture.decode import decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Save = Callable[..., bytes]
    BuildPng = Callable[..., bytes]

SMALL = Limits(max_bytes=100_000, max_side=400, max_pixels=40_000)
MAGIC = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WEBPVP8 ", b""]


@pytest.fixture(scope="module")
def files(gradients: Pixels, save: Save, build_png: BuildPng) -> list[bytes]:
    """Real files of every format and kind, small, so that most mutations hit something that matters."""
    small = gradients[:20, :30]
    rgba = np.dstack([small, small[..., :1]])
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    palette = [(b"PLTE", bytes(range(12))), (b"tRNS", b"\x10\x80")]
    return [
        save(small, "PNG"),
        save(rgba, "PNG", exif=exif),
        save(small, "PNG", save_all=True, append_images=[]),
        build_png((8, 3), 2, 3, b"\x1b\x1b", *palette),
        build_png((4, 3), 16, 2, bytes(range(24)), (b"tRNS", bytes(range(6)))),
        build_png((4, 3), 16, 0, bytes(range(8)), (b"tRNS", b"\2\3")),
        save(small, "JPEG", exif=exif),
        save(small, "JPEG", progressive=True),
        save(rgba, "WEBP", exif=exif),
        save(small, "WEBP"),
        save(small, "WEBP", lossless=True),
    ]


@settings(max_examples=500)
@given(data=st.data())
def test_mutated_file_gives_a_picture_or_a_typed_error(data: st.DataObject, files: list[bytes]) -> None:
    file = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, max(0, len(file) - 1)))
        file[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    _decode_or_refuse(bytes(file), data.draw(st.sampled_from([1, 3])))


@settings(max_examples=300)
@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_bytes_behind_any_signature_give_a_picture_or_a_typed_error(magic: bytes, content: bytes) -> None:
    _decode_or_refuse(magic + content, 3)


def _decode_or_refuse(file: bytes, channels: int) -> None:
    try:
        pixels = decode(file, channels, SMALL)
    except (InvalidPicture, PictureTooLarge):
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == channels
    assert pixels.size


CHILD = """
import sys
from pathlib import Path
from service.errors import InvalidPicture
from service.picture.decode import decode
from service.limits import Limits
for path in sys.argv[1:]:
    try:
        decode(Path(path).read_bytes(), 3, Limits(1_000_000, 1000, 1_000_000))
    except InvalidPicture:
        pass
"""


def test_broken_files_leave_no_word_on_stderr(files: list[bytes], tmp_path: Path) -> None:
    paths = []
    for number, file in enumerate(files):
        half, flipped = file[: len(file) // 2], bytearray(file)
        flipped[len(file) * 2 // 3] ^= 0xFF
        for kind, content in {"whole": file, "half": half, "flipped": bytes(flipped), "more": file + b"more"}.items():
            paths.append(tmp_path / f"{number}-{kind}")
            paths[-1].write_bytes(content)
    child = subprocess.run([sys.executable, "-c", CHILD, *paths], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")
