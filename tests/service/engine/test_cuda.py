from __future__ import annotations

import ctypes
import gc
import mmap
from typing import Any

import numpy as np
import pytest

from service.engine.cuda import gpu_count, gpu_name, pinned


class Runtime:
    """Notes what would be locked by CUDA; refuses when told to."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.devices: list[int] = []
        self.locked: dict[Any, int] = {}

    def cudaSetDevice(self, device: int) -> int:
        self.devices.append(device)
        return 0

    def cudaHostRegister(self, address: ctypes.c_void_p, nbytes: ctypes.c_size_t, flags: int) -> int:
        assert flags == 1
        if not self.refuses:
            self.locked[address.value] = nbytes.value
        return 2 if self.refuses else 0

    def cudaHostUnregister(self, address: ctypes.c_void_p) -> int:
        del self.locked[address.value]
        return 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_staging_memory_is_locked_as_long_as_it_is_used(dtype: type) -> None:
    runtime = Runtime()
    pixels = pinned(1, runtime)((2, 8, 8, 3), dtype)
    assert (pixels.shape, pixels.dtype, runtime.devices) == ((2, 8, 8, 3), dtype, [1])
    assert runtime.locked == {pixels.ctypes.data: pixels.nbytes}
    assert pixels.ctypes.data % mmap.PAGESIZE == 0
    part = pixels[1:]
    del pixels
    gc.collect()
    assert len(runtime.locked) == 1
    part[:] = 7  # the memory is still there
    del part
    gc.collect()
    assert runtime.locked == {}


@pytest.mark.parametrize("runtime", [None, Runtime(refuses=True)])
def test_memory_that_cannot_be_locked_serves_all_the_same(runtime: Runtime | None) -> None:
    pixels = pinned(0, runtime)((1, 8, 8, 3), np.uint8)
    pixels[:] = 9
    assert pixels.shape == (1, 8, 8, 3)
    del pixels
    gc.collect()
    assert runtime is None or runtime.locked == {}


def test_gpus_that_are_not_there_have_no_name() -> None:
    assert gpu_name(gpu_count()) == ""
