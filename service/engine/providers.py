"""Where a model runs: ONNX Runtime's execution providers, in order of preference, with their options."""

from __future__ import annotations

import contextlib
import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnxruntime  # type: ignore[import-untyped]

from service.engine.contract import INPUT, SEED

if TYPE_CHECKING:
    from pathlib import Path

    from service.engine.contract import PictureShape

Provider = tuple[str, dict[str, str]]

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
_KINDS = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}

# EXHAUSTIVE costs once only: no convolution sees a second shape, as each bucket has a graph or a session of its own.
# Where sizes vary it would cost seconds at every change of size.
_ONE_SHAPE, _MANY_SHAPES = "EXHAUSTIVE", "HEURISTIC"
_CUDA_OPTIONS = {
    "cudnn_conv_use_max_workspace": "1",
    "do_copy_in_default_stream": "1",
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "1",
}


@dataclass(frozen=True)
class Profile:
    """What TensorRT builds its engine for: pictures, batch sizes, precision; `cache` is a folder, or None.

    `longest` is the longest side of a picture, in pixels, for models that take any size.
    """

    picture: PictureShape
    buckets: tuple[int, ...]
    fp16: bool = False
    cache: Path | None = None
    takes_seed: bool = False
    longest: int = 0

    def shapes(self) -> dict[str, str]:
        """Return the least, the usual and the largest shapes of what goes in, as TensorRT's options want them.

        Throughput is decided in full batches: they are what TensorRT is to be best at.
        """
        picture, most = self.picture, self.buckets[-1]
        usual = (picture.height, picture.width)
        if not picture.any_size:
            full = self._shape(most, usual)
            return {"min": self._shape(self.buckets[0], usual), "opt": full, "max": full}
        return {
            "min": self._shape(1, (picture.smallest,) * 2),
            "opt": self._shape(most, usual),
            "max": self._shape(most, (self.longest,) * 2),
        }

    def _shape(self, rows: int, size: tuple[int, int]) -> str:
        image = f"{INPUT}:{rows}x{size[0]}x{size[1]}x{self.picture.channels}"
        return f"{image},{SEED}:{rows}" if self.takes_seed else image


def split_device(device: str) -> tuple[str, int]:
    """Return what kind of device is meant and which of them: "cuda:1" is ("cuda", 1), "cpu" is ("cpu", 0)."""
    kind, _, index = device.partition(":")
    return kind, int(index or 0)


def wanted_provider(device: str) -> str:
    """Return the provider that runs a model on this device."""
    return _KINDS[split_device(device)[0]]


def providers(
    device: str, *, graphs: bool = False, profile: Profile | None = None, sizes_vary: bool = False
) -> list[Provider]:
    """Return the providers to ask for, the wanted one first; the CPU stands last, for what a GPU cannot run.

    `graphs` records runs as CUDA graphs; TensorRT needs a `profile`. Where `sizes_vary`, no time is spent on finding
    what is best for one.
    """
    kind, index = split_device(device)
    cpu: Provider = (CPU, {})
    if kind == "cpu":
        return [cpu]
    search = {"cudnn_conv_algo_search": _MANY_SHAPES if sizes_vary else _ONE_SHAPE}
    cuda: Provider = (CUDA, {"device_id": str(index), **search, **_CUDA_OPTIONS, "enable_cuda_graph": str(int(graphs))})
    return [cuda, cpu] if profile is None else [(TENSORRT, _tensorrt_options(index, profile)), cuda, cpu]


def _tensorrt_options(index: int, profile: Profile) -> dict[str, str]:
    options = {
        "device_id": str(index),
        "trt_fp16_enable": str(int(profile.fp16)),
        **{f"trt_profile_{name}_shapes": shape for name, shape in profile.shapes().items()},
    }
    if profile.cache is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(profile.cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(profile.cache),
        }
    return options


@functools.cache
def preload_cuda() -> str:
    """Load the CUDA libraries that pip installed; return what ONNX Runtime says is missing, or nothing."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    return next(iter(said.getvalue().splitlines()), "")
