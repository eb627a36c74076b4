"""Compares the forms that a model can be exported in, side by side in one run.

    python -m bench.export_forms [--checkpoint RUN] [--ngf 32] [--size 256] [--rounds 6]

Statistics (each picture's own, or running ones folded into the convolutions) x the form of the transposed convolutions
x precision, on a U-Net with the checkpoint's weights or random ones, calibrated and compared on line drawings of
OpenMoji; PyTorch eager besides. For each: the file's size, the CPU time of a picture with one thread, the wall time
with a thread on each core, both over the first form's, and PSNR against fp32 of the same statistics. A form's time is
its least of several rounds in which the forms take turns, so that whatever else runs on the machine hits them alike.

Writes bench/results/export_forms.json.
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

from export import forms, optimize, precision
from export.graph import to_onnx
from export.metadata import Decoder, PictureSpec, Precision, Statistics
from export.proof import ALL_CORES, open_session, translate_with
from export.sources.loading import load
from export.sources.source import Wishes
from export.statistics import freeze
from export.translator import Translator
from train.models import GeneratorConfig, build_generator, initialise
from train.pairs.openmoji import drawings, pair

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx
    from numpy.typing import NDArray

    Pictures = NDArray[Any]
    Translate = Callable[[Pictures], Pictures]

RESULTS = Path(__file__).parent / "results" / "export_forms.json"
DECODERS: tuple[Decoder, ...] = ("transposed", "subpixel", "phases")
CALIBRATION = 64
COMPARED = 32


class Form(NamedTuple):
    """What is exported; the statistics come first in every name."""

    statistics: Statistics
    decoder: Decoder
    precision: Precision

    def __str__(self) -> str:
        return " ".join(self)


class Runner(NamedTuple):
    """A form made ready: with one thread, with one on each core, and the size of its file in bytes."""

    alone: Translate
    together: Translate
    size: int


class Times(NamedTuple):
    """Seconds of a picture: CPU time with one thread, wall time with all cores."""

    cpu: float
    wall: float


def main() -> None:
    """Measures all forms, prints a table and writes the figures."""
    arguments = _arguments()
    generator = _generator(arguments)
    pictures = _pictures(arguments.size)
    runners = {str(form): _runner(form, generator, pictures[:CALIBRATION]) for form in _all_forms(generator)}
    runners["eager"] = _eager(_translator(generator, Form("running", "transposed", "fp32"), arguments.size))
    compared = pictures[CALIBRATION:]
    quality = _psnr(runners, compared)
    times = _take_turns(runners, compared[:1], arguments.rounds)
    rows = _rows(runners, times, quality)
    _print(rows)
    _write(arguments, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="checkpoint of a model that takes RGB; else random weights")
    parser.add_argument("--ngf", type=int, default=32, help="filters of the first layer, with random weights")
    parser.add_argument("--size", type=int, default=256, help="height and width of the pictures")
    parser.add_argument("--rounds", type=int, default=6, help="how often each form takes its turn")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures are written, as JSON")
    return parser.parse_args()


def _generator(arguments: argparse.Namespace) -> torch.nn.Module:
    if arguments.checkpoint:
        return load(arguments.checkpoint, Wishes()).generator
    torch.manual_seed(0)
    generator = build_generator(GeneratorConfig(ngf=arguments.ngf)).eval().requires_grad_(requires_grad=False)
    initialise(generator)
    return generator


def _pictures(size: int) -> Pictures:
    """Returns line drawings, uint8 [96, size, size, 3], the calibration's first; neighbours in the list are alike."""
    count = CALIBRATION + COMPARED
    every = drawings()
    # A step without a common factor with the rest of the split, so that both see all kinds of drawings.
    drawn = (pair(drawing, size) for drawing in every[:: max(1, len(every) // (2 * count))])
    found = [both[0] for both in drawn if both is not None][:count]
    order = np.random.default_rng(0).permutation(len(found))
    return np.stack(found)[order]


def _all_forms(generator: torch.nn.Module) -> list[Form]:
    """Returns every statistics with every decoder in fp32, and each precision with the decoders that it can have."""
    batch = any(isinstance(module, torch.nn.BatchNorm2d) for module in generator.modules())
    kinds: list[Statistics] = ["image", "running"] if batch else ["image"]
    found = [Form(kind, decoder, "fp32") for kind in kinds for decoder in DECODERS]
    found += [Form(kind, "transposed", stored) for kind in kinds for stored in ("fp16-weights", "fp16")]
    found += [Form(kind, decoder, "int8") for kind in kinds for decoder in DECODERS[1:]]
    return sorted(found, key=lambda form: kinds.index(form.statistics))


def _translator(generator: torch.nn.Module, form: Form, size: int) -> Translator:
    spec = PictureSpec.of(size, size, 3)
    frozen = forms.rewrite(freeze(generator, form.statistics), form.decoder)
    return Translator(frozen, given=spec, made=spec).eval()


def _runner(form: Form, generator: torch.nn.Module, calibration: Pictures) -> Runner:
    model = optimize.clean(to_onnx(_translator(generator, form, calibration.shape[1])))
    file = _at(model, form.precision, calibration).SerializeToString()
    alone, together = (translate_with(open_session(file, threads=threads)) for threads in (1, ALL_CORES))
    return Runner(lambda pictures: alone(pictures, None), lambda pictures: together(pictures, None), len(file))


def _at(model: onnx.ModelProto, wanted: Precision, calibration: Pictures) -> onnx.ModelProto:
    return precision.quantize(model, calibration) if wanted == "int8" else precision.store(model, wanted)


def _eager(translator: Translator) -> Runner:
    def run(pictures: Pictures, threads: int) -> Pictures:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            translated: Pictures = translator(torch.from_numpy(pictures)).numpy()
        return translated

    size = sum(weight.nbytes for weight in translator.state_dict().values())
    cores = len(os.sched_getaffinity(0))
    return Runner(lambda pictures: run(pictures, 1), lambda pictures: run(pictures, cores), size)


def _psnr(runners: dict[str, Runner], pictures: Pictures) -> dict[str, float | None]:
    """Returns each form's PSNR, in dB, against the first of its statistics; None where they are equal."""
    seen: dict[str, Pictures] = {}
    for name, runner in runners.items():
        seen[name] = np.concatenate([runner.alone(picture[None]) for picture in pictures])
    found: dict[str, float | None] = {}
    for name, translations in seen.items():
        statistics = "running" if name == "eager" else name.split()[0]
        reference = next(seen[other] for other in seen if other.startswith(statistics))
        error = float(np.square(translations.astype(np.float64) - reference).mean())
        found[name] = round(10 * np.log10(255**2 / error), 2) if error else None
    return found


def _take_turns(runners: dict[str, Runner], picture: Pictures, rounds: int) -> dict[str, Times]:
    """Returns each form's least times over the rounds."""
    least = dict.fromkeys(runners, Times(float("inf"), float("inf")))
    for _ in range(rounds):
        for name, runner in runners.items():
            # One thread's work is the caller's; threads of other sessions, which spin for a while, are not counted.
            cpu = _least(runner.alone, picture, time.thread_time)
            wall = _least(runner.together, picture, time.perf_counter)
            least[name] = Times(min(least[name].cpu, cpu), min(least[name].wall, wall))
    return least


def _least(translate: Translate, picture: Pictures, clock: Callable[[], float]) -> float:
    """Runs once to warm up and returns the least time of three runs."""
    translate(picture)
    times = []
    for _ in range(3):
        began = clock()
        translate(picture)
        times.append(clock() - began)
    return min(times)


def _rows(
    runners: dict[str, Runner], times: dict[str, Times], quality: dict[str, float | None]
) -> dict[str, dict[str, float | None]]:
    first = next(iter(times.values()))
    return {
        name: {
            "megabytes": round(runner.size / 1e6, 2),
            "cpu_ms": round(times[name].cpu * 1e3, 2),
            "times_as_fast_cpu": round(first.cpu / times[name].cpu, 2),
            "wall_ms": round(times[name].wall * 1e3, 2),
            "times_as_fast_wall": round(first.wall / times[name].wall, 2),
            "psnr": quality[name],
        }
        for name, runner in runners.items()
    }


def _print(rows: dict[str, dict[str, float | None]]) -> None:
    print(f"{'form':34}{'MB':>8}{'CPU ms':>9}{'speed':>7}{'wall ms':>9}{'speed':>7}{'PSNR dB':>9}")
    for name, row in rows.items():
        psnr = "equal" if row["psnr"] is None else f"{row['psnr']:.2f}"
        cells = (row[key] for key in ("megabytes", "cpu_ms", "times_as_fast_cpu", "wall_ms", "times_as_fast_wall"))
        print(
            f"{name:34}"
            + "".join(f"{cell:{w}.2f}" for cell, w in zip(cells, (8, 9, 7, 9, 7), strict=True))
            + f"{psnr:>9}"
        )


def _write(arguments: argparse.Namespace, rows: dict[str, dict[str, float | None]]) -> None:
    settings = {"size": arguments.size, "rounds": arguments.rounds}
    settings |= {"weights": "trained"} if arguments.checkpoint else {"weights": "random", "ngf": arguments.ngf}
    result: dict[str, Any] = {
        "arguments": settings,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "forms": rows,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
