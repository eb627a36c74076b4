"""One model, loaded."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from service.engine.contract import INPUT, OUTPUT, picture_shape
from service.engine.providers import CPU, CUDA, preload_cuda, providers
from service.errors import InferenceFailed, StartupError
from service.metadata import checked_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from service.engine.providers import Device

    Pixels = NDArray[np.uint8]

# ONNX Runtime's own levels: 4 is fatal. What it has to say comes back as exceptions, or is seen in the provider.
_FATAL = 4


class DeviceUnavailable(Exception):
    """A GPU was asked for, and this process cannot run the model on one."""


class Engine:
    """A model in ONNX Runtime; `infer` may run in several threads at once."""

    def __init__(self, path: Path, device: Device, threads: int) -> None:
        """Load the model; `threads` is the number of CPU threads of a single run.

        Raises StartupError when the file is no model under the contract, and DeviceUnavailable when `device` is "cuda"
        and the model would run elsewhere.
        """
        session = _open(path, device, threads)
        self.provider: str = session.get_providers()[0]
        if device == "cuda" and self.provider != CUDA:
            raise DeviceUnavailable(f"asked for a GPU, but only {self.provider} runs here. {preload_cuda()}".strip())
        self.input = picture_shape(path, "input", session.get_inputs(), INPUT)
        self.output = picture_shape(path, "output", session.get_outputs(), OUTPUT)
        self.metadata_json = checked_metadata(
            path, session.get_modelmeta().custom_metadata_map, self.input, self.output
        )
        self._session = session

    @property
    def on_gpu(self) -> bool:
        """Whether the model runs on a GPU."""
        return self.provider != CPU

    def infer(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """Translate pictures of the model's input shape into as many of its output shape, in one run.

        Raises InferenceFailed when the run fails.
        """
        batch = pictures[0][np.newaxis] if len(pictures) == 1 else np.stack(pictures)
        try:
            (translations,) = self._session.run([OUTPUT], {INPUT: batch})
        except Exception as error:
            # ONNX Runtime's exceptions share no base but this one.
            raise InferenceFailed("the engine failed on this picture") from error
        return list(translations)

    def warm_up(self, batch_sizes: Iterable[int]) -> None:
        """Run once at each batch size, so that memory is allocated and kernels are chosen before the first request."""
        blank = np.zeros((self.input.height, self.input.width, self.input.channels), np.uint8)
        for size in batch_sizes:
            self.infer([blank] * size)


def _open(path: Path, device: Device, threads: int) -> onnxruntime.InferenceSession:
    if device != "cpu":
        preload_cuda()
    onnxruntime.set_default_logger_severity(_FATAL)
    wanted = providers(device)
    try:
        # A provider that cannot start is reported on stdout, whatever the log level, before the next one is tried.
        with contextlib.redirect_stdout(io.StringIO()):
            session = onnxruntime.InferenceSession(path, _options(threads), providers=wanted)
    except Exception as error:
        raise StartupError(f"{path}: ONNX Runtime cannot load it: {one_line(error)}") from error
    # Otherwise a run that fails on the GPU would go on, unasked, on the CPU.
    session.disable_fallback()
    return session


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
