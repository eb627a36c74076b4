"""The proof that a model file does what the network did: names, then shapes, then values, then batches.

Pictures are uint8 or uint16 [n, H, W, C]; seeds, where the graph takes them, int64 [n]. Differences are in levels of
255, of 16 bits as well.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray

from export.apart import Apart, among
from export.errors import NamesDiffer, OptionError, ProofError, RowsDiffer, ShapesDiffer, ValuesDiffer
from export.graph import INPUT, OUTPUT, SEED
from export.metadata import BatchInvariance, Parity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from export.metadata import PictureSpec
    from export.precision import Bounds
    from export.translator import Translator

Pictures = NDArray[Any]
Seeds = NDArray[np.int64]
Translate = Callable[[Pictures, Seeds | None], Pictures]
Device = Literal["cpu", "cuda", "tensorrt"]

BATCH_SIZES = (1, 2, 3, 8)
ALL_CORES = 0  # ONNX Runtime's own word for it
FATAL = 4  # what ONNX Runtime logs below this severity, it raises as well

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
# TF32 would round every product to 10 bits: fine for speed, not for a comparison.
_EXACT = {"use_tf32": "0"}


def references(translator: Translator, pictures: Pictures, seeds: Seeds | None = None) -> Pictures:
    """Returns what PyTorch makes of the pictures, one at a time, as the references translate."""
    rows = []
    with torch.inference_mode():
        for i in range(len(pictures)):
            seed = () if seeds is None else (torch.from_numpy(seeds[i : i + 1]),)
            rows.append(translator(torch.from_numpy(pictures[i : i + 1]), *seed).numpy())
    translated: Pictures = np.concatenate(rows)
    return translated


def open_session(model: bytes, device: Device = "cpu", threads: int = ALL_CORES) -> onnxruntime.InferenceSession:
    """Returns a session over the model on `device`, which computes in fp32 without TF32 where the model does.

    Raises ProofError where ONNX Runtime cannot load the model, OptionError where it has no such device.
    """
    missing = "" if device == "cpu" else _load_cuda()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(model, options, providers=_providers(device))
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise ProofError(f"ONNX Runtime cannot load the model: {_line(error)}") from error
    if session.get_providers()[0] != _PROVIDERS[device]:
        raise OptionError(f"--device {device}: ONNX Runtime found none and fell back to the CPU ({missing})")
    return session


def _providers(device: Device) -> list[tuple[str, dict[str, str]]]:
    if device == "tensorrt":
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # the one switch that TensorRT has for it
        return [(_PROVIDERS["tensorrt"], {}), (_PROVIDERS["cuda"], _EXACT)]
    return [(_PROVIDERS[device], _EXACT if device == "cuda" else {})]


def _load_cuda() -> str:
    """Loads the CUDA libraries that pip installed; returns in a few words why there may be no GPU."""
    onnxruntime.set_default_logger_severity(FATAL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    return next(iter(said.getvalue().splitlines()), "is there a GPU?")


def prove_contract(
    session: onnxruntime.InferenceSession, given: PictureSpec, made: PictureSpec, *, seeded: bool = False
) -> None:
    """Raises NamesDiffer or ShapesDiffer unless the model takes and gives exactly what the contract says."""
    inputs = [INPUT, SEED] if seeded else [INPUT]
    for kind, values, names in (("inputs", session.get_inputs(), inputs), ("outputs", session.get_outputs(), [OUTPUT])):
        found = [value.name for value in values]
        if found != names:
            raise NamesDiffer(f"the model's {kind} are {', '.join(found)}; the contract has {', '.join(names)}")
    for value, spec in ((session.get_inputs()[0], given), (session.get_outputs()[0], made)):
        sides: list[int | str] = ["H", "W"] if spec.any_size else [spec.height, spec.width]
        _prove_shape(value, spec.dtype, ["N", *sides, spec.channels])
    if seeded:
        _prove_shape(session.get_inputs()[1], "int64", ["N"])


def _prove_shape(value: onnxruntime.NodeArg, dtype: str, shape: list[int | str]) -> None:
    """Raises ShapesDiffer unless `value` has this type and shape; a side with a name is a free one."""
    found = ["free" if isinstance(side, str) else side for side in value.shape]
    wanted = ["free" if isinstance(side, str) else side for side in shape]
    if value.type != f"tensor({dtype})" or found != wanted:
        told = ", ".join(map(str, shape))
        raise ShapesDiffer(f"{value.name} is {value.type} {value.shape}; the contract has tensor({dtype}) [{told}]")


def translate_with(session: onnxruntime.InferenceSession) -> Translate:
    """Returns the session as a function from pictures, and seeds where it takes them (default: 0), to pictures.

    Raises ProofError where the model cannot be run.
    """
    seeded = SEED in [value.name for value in session.get_inputs()]

    def translate(pictures: Pictures, seeds: Seeds | None = None) -> Pictures:
        feeds = {INPUT: np.ascontiguousarray(pictures)}
        if seeded:
            feeds[SEED] = np.zeros(len(pictures), np.int64) if seeds is None else seeds
        try:
            translated: Pictures = session.run([OUTPUT], feeds)[0]
        except Exception as error:  # as in open_session
            raise ProofError(f"ONNX Runtime cannot run the model on {list(pictures.shape)}: {_line(error)}") from error
        return translated

    return translate


def prove_values(
    session: onnxruntime.InferenceSession,
    pictures: Pictures,
    expected: Pictures,
    bounds: Bounds,
    seeds: Seeds | None = None,
) -> Parity:
    """Returns how far the translations are from `expected`; raises ShapesDiffer or ValuesDiffer (beyond the bounds)."""
    apart = compare_rows(translate_with(session), pictures, expected, seeds)
    check_bounds(apart, bounds, "PyTorch")
    return Parity(
        pictures=apart.pictures,
        max_difference=apart.largest,
        mean_difference=round(apart.mean, 6),
        psnr=apart.psnr,
        provider=session.get_providers()[0],
    )


def compare_rows(
    translate: Translate, pictures: Pictures, expected: Pictures, seeds: Seeds | None = None, by: str = "PyTorch"
) -> Apart:
    """Translates the pictures one at a time and returns how far they are from `expected`, made `by` someone else.

    Raises ShapesDiffer where they are of another shape or dtype.
    """
    apart = Apart()
    for i in range(len(pictures)):
        found = translate(pictures[i : i + 1], row(seeds, i))
        if found.shape[1:] != expected.shape[1:] or found.dtype != expected.dtype:
            raise ShapesDiffer(
                f"the model gives {found.dtype} {list(found.shape[1:])}, {by} {expected.dtype} "
                f"{list(expected.shape[1:])}"
            )
        apart.add(found[0], expected[i])
    return apart


def some_seeds(count: int) -> Seeds:
    """Returns as many seeds, always the same ones, of both signs and all magnitudes."""
    return np.random.default_rng(0).integers(-(2**63), 2**63 - 1, count, dtype=np.int64)


def row(seeds: Seeds | None, i: int) -> Seeds | None:
    """Returns the seed of a single row, as a batch of one."""
    return None if seeds is None else seeds[i : i + 1]


def within(apart: Apart, bounds: Bounds) -> bool:
    """Tells whether pictures are as near as the bounds ask."""
    near = apart.psnr is None or apart.psnr >= bounds.psnr
    return apart.largest <= bounds.largest and apart.mean <= bounds.mean and near


def check_bounds(apart: Apart, bounds: Bounds, other: str) -> None:
    """Raises ValuesDiffer where the model is further from the `other` than the bounds allow."""
    if within(apart, bounds):
        return
    psnr, least = ("", "") if not bounds.psnr else (f" (PSNR {apart.psnr} dB)", f" (PSNR {bounds.psnr:g} dB)")
    raise ValuesDiffer(
        f"the model differs from {other} by up to {apart.largest:g} levels of 255, {apart.mean:.4f} on average{psnr}, "
        f"over {apart.pictures} pictures; at most {bounds.largest:g} and {bounds.mean:g}{least} are accepted "
        "(--max-difference)",
        apart.largest,
    )


def prove_rows(
    translate: Translate,
    pictures: Pictures,
    seeds: Seeds | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    accepted: float = 0,
) -> BatchInvariance:
    """Proves that a picture's translation is the same, whatever the batch and its place there.

    Each picture goes through every batch size at two places and beside different neighbours, with its own seed.
    Raises RowsDiffer where one changes by more than `accepted` levels of 255; a GPU may plan each size differently.
    """
    alone = np.concatenate([translate(pictures[i : i + 1], row(seeds, i)) for i in range(len(pictures))])
    largest = 0.0
    for size in batch_sizes:
        # Fewer pictures than places: they come round again.
        for start in range(0, max(len(pictures), size), max(1, size // 2)):
            rows = np.arange(start, start + size) % len(pictures)
            together = translate(pictures[rows], None if seeds is None else seeds[rows])
            largest = max(largest, among(together, alone[rows]).largest)
            if largest > accepted:
                raise RowsDiffer(
                    f"a picture's translation changes by up to {largest:g} levels of 255 in a batch of {size}", largest
                )
    return BatchInvariance(batch_sizes=tuple(batch_sizes), max_difference=largest)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
