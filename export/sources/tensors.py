"""What every loader asks of the tensors that it found."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

from export.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

LISTED = 24  # names of one kind in a message; the rest is counted


def check(place: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raises one CheckpointError that lists, by name, every tensor that does not fit the network or is not finite.

    Of `wanted` the shapes and the kinds (floating point or not) count; its tensors may be on the meta device.
    """
    problems = [
        *_listed("missing", [name for name in wanted if name not in found]),
        *_listed("unexpected", [name for name in found if name not in wanted]),
    ]
    findings = [finding for name in wanted if name in found for finding in _finding(name, wanted[name], found[name])]
    problems += findings[:LISTED]
    if len(findings) > LISTED:
        problems.append(f"and {len(findings) - LISTED} more that do not fit ({len(findings)} in all)")
    if problems:
        raise CheckpointError(f"{place} does not hold the weights of this generator: {'; '.join(problems)}")


def sha256(file: Path) -> str:
    """Returns the file's SHA-256, in hexadecimal. Raises CheckpointError where it cannot be read."""
    try:
        with file.open("rb") as stream:
            digest: str = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from error
    return digest


def shortened(names: list[str]) -> str:
    """Returns the names with commas between them; of a long list the first, and how many there are."""
    if len(names) <= LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:LISTED])} and {len(names) - LISTED} more ({len(names)} in all)"


def _listed(what: str, names: list[str]) -> list[str]:
    return [f"{what} {shortened(names)}"] if names else []


def _finding(name: str, wanted: Tensor, found: Tensor) -> list[str]:
    if wanted.shape != found.shape:
        return [f"{name} is {list(found.shape)} and should be {list(wanted.shape)}"]
    if wanted.is_floating_point() and not found.is_floating_point():
        return [f"{name} is {str(found.dtype).removeprefix('torch.')}, not floating point"]
    if found.is_floating_point() and not torch.isfinite(found).all():
        return [f"{name} holds NaN or infinity"]
    return []
