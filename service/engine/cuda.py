"""What ONNX Runtime does not offer of CUDA: which GPUs this process sees, and memory that they copy from directly."""

from __future__ import annotations

import ctypes
import functools
import mmap
import weakref
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from service.engine.turnstile import gpu

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

    from service.engine.contract import Pixels

# Of the CUDA driver API: the numbers of two attributes of a device.
_MAJOR, _MINOR = 75, 76
# Of the CUDA runtime API: memory is pinned for all devices, not for the current one alone.
_PORTABLE = 1


def gpu_count() -> int:
    """Return how many GPUs this process may use; 0 where there is no driver."""
    driver, count = _driver(), ctypes.c_int()
    return count.value if driver and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def gpu_name(index: int) -> str:
    """Return the name and compute capability of a GPU, as in "NVIDIA H100 PCIe 9.0", or "" where there is none."""
    driver, device, name = _driver(), ctypes.c_int(), ctypes.create_string_buffer(256)
    if not driver or driver.cuDeviceGet(ctypes.byref(device), index) != 0:
        return ""
    driver.cuDeviceGetName(name, len(name), device)
    capability = [ctypes.c_int() for _ in (_MAJOR, _MINOR)]
    for value, attribute in zip(capability, (_MAJOR, _MINOR), strict=True):
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    return f"{name.value.decode(errors='replace')} {capability[0].value}.{capability[1].value}"


@functools.cache
def _driver() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None


class Runtime(Protocol):
    """The part of the CUDA runtime API that is called here; each returns 0 when it worked."""

    def cudaSetDevice(self, device: int, /) -> int: ...  # noqa: D102

    def cudaHostRegister(self, address: ctypes.c_void_p, nbytes: ctypes.c_size_t, flags: int, /) -> int: ...  # noqa: D102

    def cudaHostUnregister(self, address: ctypes.c_void_p, /) -> int: ...  # noqa: D102


@functools.cache
def runtime() -> Runtime | None:
    """Return the CUDA runtime that ONNX Runtime was built for, or None where it is not installed."""
    try:
        return ctypes.CDLL(f"libcudart.so.{onnxruntime.cuda_version.partition('.')[0]}")
    except OSError:
        return None


def pinned(index: int, cuda: Runtime | None) -> Callable[[tuple[int, ...], DTypeLike], Pixels]:
    """Return what makes arrays in page-locked memory, which the GPU copies from at full speed without help of the CPU.

    Where memory cannot be locked (there is a limit, `ulimit -l`), the array is an ordinary one.
    """

    def make(shape: tuple[int, ...], dtype: DTypeLike) -> Pixels:
        # Pages of its own: what is locked and unlocked is whole pages.
        array: Pixels = np.frombuffer(mmap.mmap(-1, int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype)
        if cuda is not None:
            _lock(cuda, index, array)
        return array.reshape(shape)

    return make


def _lock(cuda: Runtime, index: int, array: Pixels) -> None:
    address = ctypes.c_void_p(array.ctypes.data)
    with gpu.shared():
        cuda.cudaSetDevice(index)  # else the first GPU gets a context that it has no use for
        locked = cuda.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), _PORTABLE) == 0
    if locked:
        # At the end of the process the driver does this itself, and may be gone already.
        weakref.finalize(array, _unlock, cuda, address).atexit = False


def _unlock(cuda: Runtime, address: ctypes.c_void_p) -> None:
    with gpu.shared():
        cuda.cudaHostUnregister(address)
