"""Compares the forms that a model can be exported in: `python bench/export_forms.py [--ngf 32] [--rounds 10]`.

One U-Net-256 with random weights at 256 x 256: each picture's own statistics or running ones folded into the
convolutions, weights stored as fp32 or as halves. For each: the file's size, the time to load it and the time for a
picture with ONNX Runtime on the CPU, one thread, as ratios to the first form. Times are CPU time, the least of several
rounds in which the forms take turns, so that whatever else runs on the machine hits them alike.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

from export.graph import to_onnx
from export.metadata import PictureSpec, Precision, Statistics
from export.precision import store
from export.proof import open_session, translate_with
from export.statistics import freeze
from export.translator import Translator
from train.models import GeneratorConfig, build_generator, initialise
from train.pairs.openmoji import drawings, render

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Form = tuple[Statistics, Precision]

T = TypeVar("T")

SPEC = PictureSpec.of(256, 256, 3)
FORMS: list[Form] = [
    ("image", "fp32"),
    ("image", "fp16-weights"),
    ("running", "fp32"),
    ("running", "fp16-weights"),
]


class Times(NamedTuple):
    """Seconds of CPU time."""

    load: float
    picture: float


def main() -> None:
    """Prints one line for each form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ngf", type=int, default=32, help="filters of the first layer")
    parser.add_argument("--rounds", type=int, default=10, help="how often each form is loaded and run")
    arguments = parser.parse_args()
    files = export_forms(arguments.ngf)
    times = take_turns(files, arguments.rounds)
    first = times[FORMS[0]]
    print(f"{'statistics':12}{'weights':14}{'size MB':>9}{'load ms':>9}{'ratio':>7}{'picture ms':>12}{'ratio':>7}")
    for form, (load, picture) in times.items():
        size = len(files[form]) / 1e6
        print(
            f"{form[0]:12}{form[1]:14}{size:9.1f}{load * 1e3:9.0f}{load / first.load:7.2f}"
            f"{picture * 1e3:12.1f}{picture / first.picture:7.2f}"
        )


def export_forms(ngf: int) -> dict[Form, bytes]:
    """Returns each form's model file."""
    torch.manual_seed(0)
    generator = build_generator(GeneratorConfig(ngf=ngf)).eval().requires_grad_(requires_grad=False)
    initialise(generator)
    graphs = {form: to_onnx(Translator(freeze(generator, form)), SPEC) for form in ("image", "running")}
    return {form: store(graphs[form[0]], form[1]).SerializeToString() for form in FORMS}


def take_turns(files: dict[Form, bytes], rounds: int) -> dict[Form, Times]:
    """Returns each form's least times over the rounds."""
    picture = render(drawings()[500].svg, SPEC.height)[None]
    seen: dict[Form, list[Times]] = {form: [] for form in files}
    for _ in range(rounds):
        for form, file in files.items():
            seen[form].append(measure(file, picture))
    return {form: Times(*(min(column) for column in zip(*times, strict=True))) for form, times in seen.items()}


def measure(file: bytes, picture: NDArray[np.uint8]) -> Times:
    """Loads the file, runs it once to warm up, and times five pictures."""
    load, session = cpu_time(lambda: open_session(file, threads=1))
    translate = translate_with(session)
    translate(picture)
    return Times(load, min(cpu_time(lambda: translate(picture))[0] for _ in range(5)))


def cpu_time(work: Callable[[], T]) -> tuple[float, T]:
    """Returns the CPU time that the work took, and what it gave."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


if __name__ == "__main__":
    main()
