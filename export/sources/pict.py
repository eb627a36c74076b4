"""Reads the `.pict` files of pix2pix-tensorflow: a generator's weights, a byte each.

Three sections follow each other, each a big-endian uint32 length and its bytes: JSON `[{"name": …, "shape": […]}, …]`;
the codebook, little-endian float32, of at most 256 values; and one uint8 for each weight, its place in the codebook,
in the order of the JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from export.errors import CheckpointError
from export.sources import tensorflow_port
from export.sources.tensorflow_port import Facts, shown

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from export.sources.source import Source, Wishes

LARGEST = 2**30  # bytes; a U-Net of ngf 64 is 54 million, and four times the file's size is needed to decode it
_LONGEST_JSON = 2**20
_LENGTH = 4
_MOST_AXES = 8
_SECTIONS = ("JSON", "codebook", "weights")


class _Variable(NamedTuple):
    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def load(file: Path, wishes: Wishes) -> Source:
    """Reads the generator in the file; of its training nothing is known.

    Raises CheckpointError where the file is cut short, damaged or holds anything else, and for a wish that contradicts
    it; OptionError for a wish that it cannot grant.
    """
    content = _content(file)
    shapes, codebook, weights = _sections(file, content)
    variables = _variables(file, bytes(shapes))
    values = _values(file, codebook)
    indices = np.frombuffer(weights, np.uint8)
    total = sum(variable.size for variable in variables)
    if total != len(indices):
        raise CheckpointError(
            f"{file}: its JSON tells of {total} weights, and {len(indices)} follow; the file is damaged"
        )
    if len(indices) and int(indices.max()) >= len(values):
        raise CheckpointError(
            f"{file}: a weight has place {int(indices.max())} in a codebook of {len(values)}; the file is damaged"
        )
    arrays = _decoded(variables, values, indices)
    return tensorflow_port.build(file, arrays, Facts(hashlib.sha256(content).hexdigest()), wishes)


def _content(file: Path) -> bytes:
    try:
        if (size := file.stat().st_size) > LARGEST:
            raise CheckpointError(f"{file} is {size} bytes; a .pict file of more than {LARGEST} is not read")
        return file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror or error}") from error


def _sections(file: Path, content: bytes) -> list[memoryview]:
    """Returns the three sections; together with their lengths they are the whole file."""
    view, at = memoryview(content), 0
    sections = []
    for name in _SECTIONS:
        start = at + _LENGTH
        if len(view) < start:
            raise CheckpointError(f"{file} is cut short, or no .pict file: the length of its {name} is missing")
        length = int.from_bytes(view[at:start], "big")
        at = start + length
        if len(view) < at:
            raise CheckpointError(
                f"{file} is cut short, or no .pict file: its {name} should take {length} bytes from byte {start}, and "
                f"{len(view) - start} are there"
            )
        sections.append(view[start:at])
    if len(view) > at:
        raise CheckpointError(f"{file}: {len(view) - at} bytes follow its three sections; it is no whole .pict file")
    return sections


def _variables(file: Path, text: bytes) -> list[_Variable]:
    if len(text) > _LONGEST_JSON:
        raise CheckpointError(f"{file}: its JSON takes {len(text)} bytes; at most {_LONGEST_JSON} are read")
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged, or no .pict file: its first section is not JSON") from error
    if not isinstance(content, list) or not content:
        raise CheckpointError(f'{file}: its JSON must be a list of {{"name": …, "shape": […]}}')
    variables = [_variable(file, item) for item in content]
    for before, after in pairwise(sorted(variable.name for variable in variables)):
        if before == after:
            raise CheckpointError(f"{file}: its JSON names {shown(after)} twice")
    return variables


def _variable(file: Path, item: Any) -> _Variable:  # noqa: ANN401 (whatever JSON holds)
    name = item.get("name") if isinstance(item, dict) else None
    shape = item.get("shape") if isinstance(item, dict) else None
    if not isinstance(name, str) or not isinstance(shape, list):
        raise CheckpointError(f'{file}: its JSON has {shown(json.dumps(item))}; wanted is {{"name": …, "shape": […]}}')
    if len(shape) > _MOST_AXES or not all(type(extent) is int and 0 < extent <= LARGEST for extent in shape):
        raise CheckpointError(
            f"{file}: {shown(name)} has the shape {shown(json.dumps(shape))}; wanted are whole numbers from 1"
        )
    return _Variable(name, tuple(shape))


def _values(file: Path, codebook: memoryview) -> NDArray[np.float32]:
    if not 0 < len(codebook) <= 1024 or len(codebook) % 4:
        raise CheckpointError(f"{file}: its codebook takes {len(codebook)} bytes; 256 values of float32 take 1024")
    values = np.frombuffer(codebook, "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{file}: {int((~np.isfinite(values)).sum())} values of its codebook are NaN or infinity")
    return values


def _decoded(
    variables: list[_Variable], values: NDArray[np.float32], indices: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    arrays, at = {}, 0
    for variable in variables:
        arrays[variable.name] = values[indices[at : at + variable.size]].reshape(variable.shape)
        at += variable.size
    return arrays
