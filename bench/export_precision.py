"""Compares a model's precisions with each other and with PyTorch eager, in one run.

    python -m bench.export_precision [--checkpoint CHECKPOINT] [--pictures DATA] [--calibrate DATA] [--rounds 6]

For each precision, in the form that export chooses for it: the file's size; largest and mean difference and PSNR
against PyTorch on real pictures; pictures/s on the CPU, one picture at a time, with one thread (of its CPU time) and
with all cores (of the wall time). Where ONNX Runtime finds a GPU: fp32, TF32, fp16 and TensorRT there, one picture at a
time and in batches of 8. A rate is the best of several rounds in which all take turns, so that whatever else runs on
the machine hits them alike.

Without --checkpoint: a U-Net-256 with ngf 64 and random weights. Without --pictures: line drawings of OpenMoji.

Writes bench/results/export_precision_NETG_ngfNGF.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import torch
from lapis.command import read

from export import data, optimize, precision, proof, statistics
from export.apart import among
from export.errors import OptionError
from export.graph import to_onnx
from export.plan import Plan, settle
from export.settings import ExportSettings
from export.sources.loading import load
from export.sources.source import Source, Wishes
from train.models import GeneratorConfig, build_generator, initialise
from train.pairs.openmoji import drawings, pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from export.metadata import PictureSpec, Precision, Statistics

    Pictures = NDArray[Any]
    Run = Callable[[Pictures], Pictures]

RESULTS = Path(__file__).parent / "results"
COMPARED, CALIBRATION = 32, 128
BATCH = 8
ON_CPU: tuple[Precision, ...] = ("fp32", "fp16-weights", "int8")


class Runner(NamedTuple):
    """A model made ready: its file's bytes, how it is run, by which clock, and how many pictures at a time."""

    size: int
    run: Run
    clock: Callable[[], float]
    batch: int = 1


class Subject(NamedTuple):
    """What is measured: where it comes from, its statistics, and real pictures, [n, H, W, C]."""

    source: Source
    chosen: Statistics
    pictures: Pictures
    calibration: Pictures


def main() -> None:
    """Measures everything, prints a table and writes the figures."""
    arguments = _arguments()
    subject = _subject(arguments)
    runners = _on_cpu(subject) | _on_gpu(subject)
    differences = _differences(subject, runners)
    rates = _take_turns(runners, subject.pictures, arguments.rounds)
    rows: dict[str, dict[str, Any]] = {
        name: {
            "megabytes": round(runner.size / 1e6, 2),
            "pictures_per_second": round(rates[name], 2),
            **differences[name],
        }
        for name, runner in runners.items()
    }
    _print(rows)
    _write(arguments, subject, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="anything that lapis-export reads; else random weights")
    parser.add_argument("--ngf", type=int, default=64, help="filters of the first layer, with random weights")
    parser.add_argument("--size", type=int, default=256, help="height and width, with random weights")
    parser.add_argument("--pictures", type=Path, help="pictures or data set to compare on")
    parser.add_argument("--calibrate", type=Path, help="pictures or data set to measure int8's ranges on")
    parser.add_argument("--rounds", type=int, default=6, help="how often each takes its turn")
    return parser.parse_args()


def _subject(arguments: argparse.Namespace) -> Subject:
    source = load(arguments.checkpoint, Wishes()) if arguments.checkpoint else _random(arguments)
    chosen = statistics.choose(
        "auto",
        source.architecture.norm,
        batch_size=source.batch_size,
        gathered=source.gathered,
        origin=source.origin,
        measured=None,
    )
    given = _plan(source, "fp32").sides.given
    drawn = _drawn(given)
    pictures, calibration = drawn[:COMPARED], drawn[COMPARED:]
    if arguments.pictures:
        pictures = data.load_inputs(arguments.pictures, given, direction=source.direction, most=COMPARED)
    if arguments.calibrate:
        calibration = data.load_inputs(arguments.calibrate, given, direction=source.direction, most=CALIBRATION)
    return Subject(source, chosen.statistics, pictures, calibration)


def _random(arguments: argparse.Namespace) -> Source:
    """Returns a U-Net as it is before training."""
    torch.manual_seed(0)
    architecture = GeneratorConfig(ngf=arguments.ngf)
    generator = build_generator(architecture).eval().requires_grad_(requires_grad=False)
    initialise(generator)
    return Source(
        place=Path("random"),
        origin="lapis",
        architecture=architecture,
        generator=generator,
        sha256="",
        recognised="random weights",
        height=arguments.size,
        width=arguments.size,
        gathered=False,
        batch_size=1,
    )


def _plan(source: Source, wanted: Precision) -> Plan:
    """Returns what lapis-export would do with the source."""
    options = ["checkpoint", "--output=models/bench/1", f"--precision={wanted}"]
    return settle(read("lapis-export", ExportSettings, options + ["--calibrate=."] * (wanted == "int8")), source)


def _drawn(spec: PictureSpec) -> Pictures:
    """Returns line drawings, [160, H, W, C] as the spec says, in an order of no meaning; channels are repeated."""
    count = COMPARED + CALIBRATION
    spread = drawings()[:: max(1, len(drawings()) // (2 * count))]
    found = [
        both[0] for both in (pair(drawing, max(spec.height, spec.width)) for drawing in spread) if both is not None
    ]
    order = np.random.default_rng(0).permutation(len(found))[:count]
    drawn = np.stack([found[i][: spec.height, : spec.width] for i in order])
    channels = drawn[..., np.arange(spec.channels) % drawn.shape[3]]
    return np.stack([data.as_samples(picture, spec.dtype) for picture in channels])


def _file(subject: Subject, wanted: Precision) -> bytes:
    model = optimize.clean(to_onnx(_plan(subject.source, wanted).exported(subject.chosen)))
    if wanted == "int8":
        return precision.quantize(model, subject.calibration).SerializeToString()
    return precision.store(model, wanted).SerializeToString()


def _on_cpu(subject: Subject) -> dict[str, Runner]:
    cores = len(os.sched_getaffinity(0))
    runners = {}
    reference = _plan(subject.source, "fp32").reference(subject.chosen)
    weights = sum(weight.nbytes for weight in subject.source.generator.state_dict().values())
    # One thread's work is done by the caller's; threads of other sessions, which spin for a while, are not counted.
    for threads, words, clock in ((1, "1 thread", time.thread_time), (cores, "all cores", time.perf_counter)):
        runners[f"PyTorch eager, {words}"] = Runner(weights, _eager(reference, threads), clock)
    for wanted in ON_CPU:
        file = _file(subject, wanted)
        for threads, words, clock in ((1, "1 thread", time.thread_time), (0, "all cores", time.perf_counter)):
            run = _with(proof.open_session(file, threads=threads))
            runners[f"{wanted}, {words}"] = Runner(len(file), run, clock)
    return runners


def _on_gpu(subject: Subject) -> dict[str, Runner]:
    """Returns the ways to run the model on a GPU; none where ONNX Runtime finds no GPU, or no TensorRT."""
    files = {wanted: _file(subject, wanted) for wanted in ("fp32", "fp16")} if _has_gpu(subject) else {}
    runners = {}
    for stored, file in files.items():
        for name, providers in _GPU[stored].items():
            if (session := _session(file, providers)) is not None:
                for batch in (1, BATCH):
                    runners[f"{name}, batch {batch}"] = Runner(len(file), _with(session), time.perf_counter, batch)
    return runners


def _has_gpu(subject: Subject) -> bool:
    try:
        proof.open_session(_file(subject, "fp32"), "cuda")
    except OptionError as error:
        print(f"without a GPU: {error}")
        return False
    return True


_CUDA, _TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
_FASTEST = {"cudnn_conv_algo_search": "EXHAUSTIVE", "prefer_nhwc": "1"}
_GPU: dict[str, dict[str, list[tuple[str, dict[str, str]]]]] = {
    "fp32": {
        "CUDA fp32": [(_CUDA, _FASTEST | {"use_tf32": "0"})],
        "CUDA tf32": [(_CUDA, _FASTEST | {"use_tf32": "1"})],
        "TensorRT tf32": [(_TENSORRT, {}), (_CUDA, {})],
        "TensorRT fp16": [(_TENSORRT, {"trt_fp16_enable": "1"}), (_CUDA, {})],
    },
    "fp16": {"CUDA fp16": [(_CUDA, _FASTEST)]},
}


def _session(file: bytes, providers: list[tuple[str, dict[str, str]]]) -> onnxruntime.InferenceSession | None:
    """Returns a session, or None where its provider is not there."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = proof.FATAL
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    if session.get_providers()[0] == providers[0][0]:
        return session
    print(f"without {providers[0][0]}: ONNX Runtime has none here")
    return None


def _with(session: onnxruntime.InferenceSession) -> Run:
    translate = proof.translate_with(session)
    return lambda pictures: translate(pictures, None)


def _eager(reference: torch.nn.Module, threads: int) -> Run:
    def run(pictures: Pictures) -> Pictures:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            translated: Pictures = reference(torch.from_numpy(pictures)).numpy()
        return translated

    return run


def _differences(subject: Subject, runners: dict[str, Runner]) -> dict[str, dict[str, float | None]]:
    """Returns how far each is from PyTorch, in levels of 255 and in dB (None: equal)."""
    rows = [subject.pictures[i : i + 1] for i in range(len(subject.pictures))]
    expected = proof.references(_plan(subject.source, "fp32").reference(subject.chosen), subject.pictures)
    found = {}
    for name, runner in runners.items():
        apart = among(np.concatenate([runner.run(row) for row in rows]), expected)
        found[name] = {"largest": apart.largest, "mean": round(apart.mean, 5), "psnr": apart.psnr}
    return found


def _take_turns(runners: dict[str, Runner], pictures: Pictures, rounds: int) -> dict[str, float]:
    """Returns each one's pictures/s in its best round."""
    least = dict.fromkeys(runners, float("inf"))
    for _ in range(rounds):
        for name, runner in runners.items():
            least[name] = min(least[name], _seconds(runner, np.resize(pictures, (runner.batch, *pictures.shape[1:]))))
    return {name: runners[name].batch / seconds for name, seconds in least.items()}


def _seconds(runner: Runner, pictures: Pictures) -> float:
    """Runs once to warm up and returns the least time of three runs."""
    runner.run(pictures)
    times = []
    for _ in range(3):
        began = runner.clock()
        runner.run(pictures)
        times.append(runner.clock() - began)
    return min(times)


def _print(rows: dict[str, dict[str, Any]]) -> None:
    print(f"{'':28}{'MB':>8}{'pictures/s':>12}{'largest':>9}{'mean':>9}{'PSNR dB':>9}")
    for name, row in rows.items():
        psnr = "equal" if row["psnr"] is None else f"{row['psnr']:.2f}"
        print(
            f"{name:28}{row['megabytes']:8.1f}{row['pictures_per_second']:12.2f}{row['largest']:9g}{row['mean']:9.4f}"
            f"{psnr:>9}"
        )


def _write(arguments: argparse.Namespace, subject: Subject, rows: dict[str, dict[str, Any]]) -> None:
    architecture, given = subject.source.architecture, _plan(subject.source, "fp32").sides.given
    result = {
        "model": {
            "weights": "trained" if arguments.checkpoint else "random",
            "netG": architecture.netG,
            "ngf": architecture.ngf,
            "statistics": subject.chosen,
            "height": given.height,
            "width": given.width,
        },
        "pictures": len(subject.pictures),
        "calibration": len(subject.calibration),
        "rounds": arguments.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "results": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"export_precision_{architecture.netG}_ngf{architecture.ngf}.json"
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
