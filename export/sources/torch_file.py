"""Reads the weights in a file of `torch.save`, or in safetensors, and runs nothing that the file brings along.

What a file may cost is known before anything of it is unpacked: `torch.save` stores its tensors uncompressed, so a
file is never smaller than what is in it.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from export.errors import CheckpointError
from export.sources import file_kinds
from export.sources.tensors import shortened

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 16 * 2**30  # bytes; the largest generator of the references has 0.73 GB
# Where programs that save more than a generator keep it, the likeliest first.
_HOLDERS = ("netG", "net_G", "G", "generator", "state_dict", "model_state_dict", "model", "net", "network", "params")
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and DistributedDataParallel; torch.compile
_DEEPEST = 4


def read(file: Path) -> dict[str, Tensor]:
    """Returns the tensors by name, on the CPU; those that are floating point in fp32.

    A state dict may be nested under a usual key ("state_dict", "netG", …); prefixes that wrappers put before every name
    are taken off. Raises CheckpointError for a file that cannot be read, is damaged, is no such file, needs more than
    weights (naming what), or claims more than it holds.
    """
    size = file_kinds.check(file, LARGEST)
    content: object
    if file_kinds.is_safetensors(file, size):
        content = _safetensors(file)
    else:
        if file_kinds.is_zip(file):
            _check_zip(file, size)
        content = _unpickled(file)
    tensors = _unwrapped(_state(file, content))
    _check_claims(file, tensors, size)
    return {name: tensor.detach().float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} is damaged or cut short: {error}") from error
    return found


def _check_zip(file: Path, size: int) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file} is damaged or cut short: {error}") from error
    names = [entry.filename.partition("/")[2] for entry in entries]
    if "data.pkl" not in names:
        raise CheckpointError(f"{file} is a zip archive, but none that torch.save wrote")
    if "constants.pkl" in names:
        raise CheckpointError(f"{file} is a TorchScript program; wanted is a state dict, as torch.save writes it")
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    claimed = sum(entry.file_size for entry in entries)
    if packed or claimed > size:
        what = f"{packed[0]} is compressed" if packed else "its entries overlap"
        raise CheckpointError(
            f"{file}: {what}, {claimed:,} bytes unpacked from {size:,}; torch.save never writes that, and it is not "
            "unpacked"
        )


def _unpickled(file: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refused(file, str(error))) from error
    except MemoryError as error:
        raise CheckpointError(f"{file}: this machine's memory cannot hold it") from error
    except Exception as error:  # torch and pickle raise many kinds for a damaged file
        raise CheckpointError(f"{file} is damaged or cut short: {_first_line(error)}") from error


def _refused(file: Path, reason: str) -> str:
    """Says what a pickle wants that is not weights, by name where it can be told."""
    wants = {*re.findall(r"GLOBAL ([\w.]+)", reason), *_unsafe(file)}
    wants |= set(re.findall(r"(?:unrecognized function|Unsupported class|instantiate|class) ([\w.]+\.[\w.]+)", reason))
    if wants:
        return (
            f"{file} is a pickle that wants {shortened(sorted(wants))}; it is not loaded, because that may run code. "
            "Only weights are read: save them with torch.save(network.state_dict(), FILE)"
        )
    said = reason.partition("WeightsUnpickler error:")[2].strip() or reason
    return f"{file} is damaged, or no pickle of weights alone: {said.splitlines()[0].split('. ')[0]}"


def _unsafe(file: Path) -> list[str]:
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # noqa: BLE001 (the older format, or too damaged: the first name is in the refusal)
        return []


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _state(file: Path, content: object, depth: int = 0) -> dict[str, Tensor]:
    """Returns the state dict that a loaded file is, or that it keeps under a usual key."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{file} holds a {_kind(content)}; wanted is a state dict: names and tensors")
    if "param_groups" in content and "state" in content:
        raise CheckpointError(f"{file} is the state of an optimizer; wanted is a generator's, as in latest_net_G.pth")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        return tensors
    for holder in _HOLDERS:
        if depth < _DEEPEST and isinstance(content.get(holder), Mapping):
            return _state(file, content[holder], depth + 1)
    named = f"only {shortened([repr(key) for key in content])}" if content else "nothing"
    raise CheckpointError(f"{file} holds {named}; wanted is a state dict, or one under {', '.join(_HOLDERS)}")


def _kind(content: object) -> str:
    return "single tensor" if isinstance(content, Tensor) else type(content).__name__


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Takes off what wrappers put before every name; of several networks in one the generator is kept."""
    for _ in range(_DEEPEST):
        for prefix in _WRAPPERS:
            if all(name.startswith(prefix) for name in tensors):
                tensors = _below(tensors, prefix)
        for prefix in ("netG.", "net_G.", "generator."):
            tensors = _below(tensors, prefix) or tensors
    return tensors


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_claims(file: Path, tensors: dict[str, Tensor], size: int) -> None:
    """Raises CheckpointError for tensors that claim more elements than are stored, or that hold no plain numbers."""
    for name, tensor in tensors.items():
        plain: Any = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        if not plain:
            raise CheckpointError(f"{file}: {name} is no plain tensor of numbers ({tensor.layout}, {tensor.device})")
        stored = tensor.untyped_storage().nbytes()
        if tensor.numel() * tensor.element_size() > stored:
            raise CheckpointError(f"{file}: {name} claims to be {list(tensor.shape)}, but {stored:,} bytes are stored")
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > 2 * size:  # twice, because networks may share weights
        raise CheckpointError(f"{file}: its tensors claim {claimed:,} bytes, the file has {size:,}")
