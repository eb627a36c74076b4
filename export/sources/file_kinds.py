"""Tells by its first bytes what a file is, so that a wrong one is called by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

_ZIP = b"PK"
# First bytes, and what begins with them.
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: git lfs pull fetches it",
    b"<!DOCTYPE": "a web page: the download went wrong",
    b"<!doctype": "a web page: the download went wrong",
    b"<html": "a web page: the download went wrong",
    b"<?xml": "an XML text: the download went wrong",
    b"\x89HDF": "an HDF5 file, as Keras writes them",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"7z\xbc\xaf": "a 7-zip archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"\x93NUMPY": "a NumPy array",
    b"\x08\x03\x12": "an ONNX model",
    b"\x08\x06\x12": "an ONNX model",
    b"\x08\x07\x12": "an ONNX model",
    b"\x08\x08\x12": "an ONNX model",
}
_WANTED = "wanted is a file of torch.save or safetensors"
_HEADER_LARGEST = 100_000_000  # bytes; the limit of safetensors itself


def check(file: Path, largest: int) -> int:
    """Returns the file's size in bytes.

    Raises CheckpointError where it cannot be read, is empty, larger than `largest` bytes, or of a kind that is known to
    hold no PyTorch weights.
    """
    head = _head(file, 512)
    size = file.stat().st_size
    if not head:
        raise CheckpointError(f"{file} is empty; {_WANTED}")
    if size > largest:
        raise CheckpointError(f"{file} has {size / 1e9:.1f} GB; generators have far less than {largest / 1e9:.0f} GB")
    for start, what in _OTHERS.items():
        if head.startswith(start):
            raise CheckpointError(f"{file} is {what}; {_WANTED}")
    if head[257:262] == b"ustar":
        raise CheckpointError(f"{file} is a tar archive: unpack it first, or save it with a newer PyTorch; {_WANTED}")
    if _is_text(head):
        raise CheckpointError(f"{file} is a text, not weights; {_WANTED}")
    return size


def is_zip(file: Path) -> bool:
    """Tells whether the file begins as a zip archive does: all that torch.save wrote since PyTorch 1.6."""
    return _head(file, 4).startswith(_ZIP)


def is_safetensors(file: Path, size: int) -> bool:
    """Tells whether the file begins as safetensors do: the length of a JSON header, and the header."""
    head = _head(file, 9)
    length = int.from_bytes(head[:8], "little")
    return head[8:] == b"{" and 2 <= length <= _HEADER_LARGEST and length <= size


def _head(file: Path, length: int) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(length)
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from error


def _is_text(head: bytes) -> bool:
    return all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head)
