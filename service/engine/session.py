"""ONNX Runtime's sessions: opened quietly, on the device asked for or not at all."""

from __future__ import annotations

import contextlib
import io
import threading
from typing import TYPE_CHECKING

import onnxruntime  # type: ignore[import-untyped]

from service.engine.providers import CPU, preload_cuda, providers, wanted_provider
from service.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.engine.providers import Profile, Provider

# ONNX Runtime's own levels: 4 is fatal. What it has to say comes back as exceptions, or is seen in the provider.
_FATAL = 4
_one_silence = threading.Lock()


class DeviceUnavailable(Exception):
    """A GPU was asked for, and this process cannot run the model on it."""


def open_session(
    path: Path,
    device: str,
    threads: int,
    *,
    graphs: bool = False,
    profile: Profile | None = None,
    sizes_vary: bool = False,
) -> onnxruntime.InferenceSession:
    """Load the model onto a device ("cpu", "cuda:0", "tensorrt:1"); `threads` is the number of CPU threads of a run.

    `sizes_vary` is for models that take pictures of any size. Raises StartupError when the file is no model, and
    DeviceUnavailable when it would run elsewhere.
    """
    wanted = wanted_provider(device)
    if wanted != CPU:
        preload_cuda()
    options = _options(threads)
    # Where memory goes is planned and kept for every size that comes by: without end where they vary.
    options.enable_mem_pattern = not sizes_vary
    session = _load(path, options, providers(device, graphs=graphs, profile=profile, sizes_vary=sizes_vary))
    # A provider that cannot start is left out without an error.
    found = session.get_providers()[0]
    if found != wanted:
        raise DeviceUnavailable(f"asked for a GPU ({device}), but only {found} runs here. {preload_cuda()}".strip())
    # Otherwise a run that fails on the GPU would go on, unasked, on the CPU.
    session.disable_fallback()
    return session


def read_only_session(path: Path) -> onnxruntime.InferenceSession:
    """Load the model to be looked at and not run: nothing is optimised. Raises StartupError when it is no model."""
    options = _options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _load(path, options, providers("cpu"))


def _load(path: Path, options: onnxruntime.SessionOptions, wanted: list[Provider]) -> onnxruntime.InferenceSession:
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        with _silence() if len(wanted) > 1 else contextlib.nullcontext():
            return onnxruntime.InferenceSession(path, options, providers=wanted)
    except Exception as error:
        raise StartupError(f"{path}: ONNX Runtime cannot load it: {one_line(error)}") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep off stdout what ONNX Runtime prints there when a provider cannot start and the next one is tried.

    There is one stdout: two threads that took it away and gave it back might leave it taken away.
    """
    with _one_silence, contextlib.redirect_stdout(io.StringIO()):
        yield


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin take the cores from decoding and encoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def one_line(error: BaseException | None) -> str:
    """Return what an error says without its line breaks."""
    return " ".join(str(error).split())
