"""What can be told of a model file without loading it: that it is whole, and what it says about itself.

An ONNX file is a protobuf message. Its fields are walked over by their lengths, so that a file of any size takes no
memory: one that was cut short, an error page of a web server or a pointer of Git LFS are known for what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.delivery.errors import Refused
from service.models.metadata import KEY

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

# Fields of onnx.ModelProto and of onnx.StringStringEntryProto, and how protobuf encodes a field (its wire type).
_GRAPH, _METADATA = 7, 14
_KEY, _VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LARGEST_METADATA = 16 << 20


def describe(path: Path, name: str) -> str:
    """Return what export wrote into the model about it, "" where it wrote nothing.

    Raises Refused for what is no whole model; the message calls the file by its name.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            return _walk(file, size)
    except _Malformed as error:
        raise Refused(f"{name}: {_likeness(path) or f'no whole ONNX model ({error})'}") from error
    except OSError as error:
        raise Refused(f"{name}: {error.strerror}") from error


class _Malformed(Exception):
    pass


def _walk(file: BinaryIO, size: int) -> str:
    description, graph = "", False
    while file.tell() < size:
        number, length = _field(file)
        end = file.tell() + length
        if end > size:
            raise _Malformed(f"it ends after {size:,} bytes, and goes on to {end:,} at least")
        graph |= number == _GRAPH
        if number == _METADATA:
            description = _entry(file, end) or description
        file.seek(end)
    if not graph:
        raise _Malformed("there is no graph in it")
    return description


def _entry(file: BinaryIO, end: int) -> str:
    """Return the value of an entry of the metadata if it is ours, "" if it is another's."""
    texts = {}
    while file.tell() < end:
        number, length = _field(file)
        if length > min(end - file.tell(), _LARGEST_METADATA):
            raise _Malformed("its metadata are damaged")
        texts[number] = file.read(length).decode("utf-8", "replace")
    return texts.get(_VALUE, "") if texts.get(_KEY) == KEY else ""


def _field(file: BinaryIO) -> tuple[int, int]:
    """Return the number of the field that begins here, and how many bytes follow until the next."""
    tag = _varint(file)
    number, kind = tag >> 3, tag & 7
    if kind == _VARINT:
        _varint(file)
        return number, 0
    if kind == _BYTES:
        return number, _varint(file)
    if number == 0 or kind not in {_FIXED64, _FIXED32}:
        raise _Malformed(f"no field of it begins at byte {file.tell():,}")
    return number, 8 if kind == _FIXED64 else 4


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise _Malformed("it ends in the middle of a field")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise _Malformed(f"no number ends before byte {file.tell():,}")


def _likeness(path: Path) -> str:
    """Return what the file is instead, where that is easily seen."""
    with path.open("rb") as file:
        beginning = file.read(256).lstrip().lower()
    if not beginning:
        return "the file is empty"
    if beginning.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the model itself (git lfs pull fetches it)"
    if beginning.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not a model"
    return "a compressed file, not a model" if beginning.startswith((b"\x1f\x8b", b"pk\x03\x04")) else ""
