"""Where a model runs: ONNX Runtime's execution providers, in order of preference."""

from __future__ import annotations

import contextlib
import functools
import io
from typing import Literal

import onnxruntime  # type: ignore[import-untyped]

Device = Literal["auto", "cpu", "cuda"]
Provider = tuple[str, dict[str, str]]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

# HEURISTIC and not EXHAUSTIVE: cuDNN plans anew whenever the batch size differs from the run before.
_CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",
    "cudnn_conv_use_max_workspace": "1",
    "do_copy_in_default_stream": "1",
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "1",
}


def providers(device: Device) -> list[Provider]:
    """Return the providers to ask for; the CPU always stands last, for what a GPU cannot run."""
    cpu: Provider = (CPU, {})
    return [cpu] if device == "cpu" else [(CUDA, _CUDA_OPTIONS), cpu]


@functools.cache
def preload_cuda() -> str:
    """Load the CUDA libraries that pip installed; return what ONNX Runtime says is missing, or nothing."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    return next(iter(said.getvalue().splitlines()), "")
