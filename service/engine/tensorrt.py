"""TensorRT: its libraries, and a folder for what it built that is used for nothing else."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime  # type: ignore[import-untyped]

from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What ONNX Runtime's provider is linked to; the second needs the first.
_LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")


@functools.cache
def preload() -> str:
    """Load TensorRT's libraries, the system's or those that pip installed; return its version, or "" without it."""
    loaded = [_load(name) for name in _LIBRARIES]
    return "" if loaded[0] is None else str(loaded[0].getInferLibVersion())


def _load(name: str) -> ctypes.CDLL | None:
    for place in _places(name):
        try:
            return ctypes.CDLL(place, ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    return None


def _places(name: str) -> Iterator[str]:
    yield name
    package = find_spec("tensorrt_libs")
    if package and package.origin:
        yield str(Path(package.origin).with_name(name))


def cache_folder(root: Path, gpu: str, tensorrt: str, digest: str) -> Path:
    """Return the folder for the engines of one model on one kind of GPU, made where it is not there.

    An engine works with the GPU, TensorRT and ONNX Runtime that it was built with, and with no other. Raises
    StartupError when the folder cannot be made.
    """
    parts = (gpu or "gpu", f"tensorrt-{tensorrt}", f"onnxruntime-{onnxruntime.__version__}")
    key = hashlib.sha256("\n".join((*parts, digest)).encode()).hexdigest()[:16]
    folder = root / re.sub(r"[^A-Za-z0-9.-]+", "_", "_".join(parts)) / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"{folder}: cannot keep TensorRT's engines there: {error.strerror}") from error
    return folder
