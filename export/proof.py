"""The proof that a model file does what the network did: names, then shapes, then values, then batches."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import torch

from export.errors import NamesDiffer, OptionError, ProofError, RowsDiffer, ShapesDiffer, ValuesDiffer
from export.graph import INPUT, OUTPUT
from export.metadata import BatchInvariance, Parity
from export.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from export.metadata import PictureSpec
    from export.precision import Bounds

    Pictures = NDArray[np.uint8]
    Translate = Callable[[Pictures], Pictures]

BATCH_SIZES = (1, 2, 3, 8)
ALL_CORES = 0  # ONNX Runtime's own word for it
FATAL = 4  # what ONNX Runtime logs below this severity, it raises as well

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def references(reference: nn.Module, pictures: Pictures) -> Pictures:
    """Returns what PyTorch makes of the pictures, one at a time, as the references translate."""
    translator = Translator(reference)
    with torch.inference_mode():
        rows = [translator(torch.from_numpy(pictures[i : i + 1])).numpy() for i in range(len(pictures))]
    translated: Pictures = np.concatenate(rows)
    return translated


def open_session(
    model: bytes, device: Literal["cpu", "cuda"] = "cpu", threads: int = ALL_CORES
) -> onnxruntime.InferenceSession:
    """Returns a session over the model on `device`.

    Raises ProofError where ONNX Runtime cannot load the model, OptionError where it has no such device.
    """
    missing = _load_cuda() if device == "cuda" else ""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    # TF32 would round every product to 10 bits: fine for speed, not for a comparison.
    provider = (_PROVIDERS[device], {"use_tf32": "0"} if device == "cuda" else {})
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise ProofError(f"ONNX Runtime cannot load the model: {' '.join(str(error).split())[:300]}") from error
    if session.get_providers()[0] != _PROVIDERS[device]:
        raise OptionError(f"--device {device}: ONNX Runtime found none and fell back to the CPU ({missing})")
    return session


def _load_cuda() -> str:
    """Loads the CUDA libraries that pip installed; returns in a few words why there may be no GPU."""
    onnxruntime.set_default_logger_severity(FATAL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    return next(iter(said.getvalue().splitlines()), "is there a GPU?")


def prove_contract(session: onnxruntime.InferenceSession, given: PictureSpec, made: PictureSpec) -> None:
    """Raises NamesDiffer or ShapesDiffer unless the model takes and gives exactly what the contract says."""
    for kind, values, name in (
        ("inputs", session.get_inputs(), INPUT),
        ("outputs", session.get_outputs(), OUTPUT),
    ):
        found = [value.name for value in values]
        if found != [name]:
            raise NamesDiffer(f"the model's {kind} are {', '.join(found)}; the contract has {name}")
    for value, spec in ((session.get_inputs()[0], given), (session.get_outputs()[0], made)):
        _prove_shape(value, [spec.height, spec.width, spec.channels])


def _prove_shape(value: onnxruntime.NodeArg, sides: list[int]) -> None:
    if value.type != "tensor(uint8)" or not isinstance(value.shape[0], str) or list(value.shape[1:]) != sides:
        wanted = ", ".join(map(str, ["N", *sides]))
        raise ShapesDiffer(f"{value.name} is {value.type} {value.shape}; the contract has tensor(uint8) [{wanted}]")


def translate_with(session: onnxruntime.InferenceSession) -> Translate:
    """Returns the session as a function from pictures to pictures."""

    def translate(pictures: Pictures) -> Pictures:
        translated: Pictures = session.run([OUTPUT], {INPUT: pictures})[0]
        return translated

    return translate


def prove_values(
    session: onnxruntime.InferenceSession, pictures: Pictures, expected: Pictures, bounds: Bounds
) -> Parity:
    """Returns how far the translations are from `expected`; raises ShapesDiffer or ValuesDiffer (beyond the bounds)."""
    translate = translate_with(session)
    found = np.concatenate([translate(pictures[i : i + 1]) for i in range(len(pictures))])
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ShapesDiffer(
            f"the model gives {found.dtype} {list(found.shape)}, PyTorch {expected.dtype} {list(expected.shape)}"
        )
    distance = _distance(found, expected)
    largest, mean = int(distance.max()), float(distance.mean())
    if largest > bounds.largest or mean > bounds.mean:
        raise ValuesDiffer(
            f"the model differs from PyTorch by up to {largest} levels of 255, {mean:.4f} on average, over "
            f"{len(pictures)} pictures; at most {bounds.largest:g} and {bounds.mean:g} are accepted (--max-difference)",
            largest,
        )
    return Parity(
        pictures=len(pictures),
        max_difference=largest,
        mean_difference=round(mean, 6),
        provider=session.get_providers()[0],
    )


def prove_rows(translate: Translate, pictures: Pictures, batch_sizes: Sequence[int] = BATCH_SIZES) -> BatchInvariance:
    """Proves that a picture's translation is the same, bit for bit, whatever the batch and its place there.

    Each picture goes through every batch size at two places and beside different neighbours. Raises RowsDiffer.
    """
    alone = np.concatenate([translate(pictures[i : i + 1]) for i in range(len(pictures))])
    for size in batch_sizes:
        # Fewer pictures than places: they come round again.
        for start in range(0, max(len(pictures), size), max(1, size // 2)):
            rows = np.arange(start, start + size) % len(pictures)
            largest = int(_distance(translate(pictures[rows]), alone[rows]).max())
            if largest:
                raise RowsDiffer(
                    f"a picture's translation changes by up to {largest} levels of 255 in a batch of {size}", largest
                )
    return BatchInvariance(batch_sizes=tuple(batch_sizes), max_difference=0)


def _distance(a: Pictures, b: Pictures) -> NDArray[np.int16]:
    return np.abs(a.astype(np.int16) - b.astype(np.int16))
