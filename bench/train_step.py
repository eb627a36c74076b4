"""Training pictures/s of the reference step, plain and with what makes it faster, in turn so that drift cancels out.

    python bench/train_step.py [--size 128] [--batch-size 16] [--ngf 32] [--rounds 5]

Writes bench/results/train_step.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from train.settings import TrainSettings
from train.state import State, new_state
from train.step import train_step

FORMS: dict[str, dict[str, Any]] = {
    "plain": {"channels_last": False, "precision": "fp32"},
    "channels_last": {"channels_last": True, "precision": "fp32"},
    "channels_last_bf16": {"channels_last": True, "precision": "bf16"},
}
RESULTS = Path(__file__).parent / "results" / "train_step.json"


def main() -> None:
    """Measures all forms and prints and writes their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 128), ("batch-size", 16), ("ngf", 32), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    states = {name: state(arguments, **form) for name, form in FORMS.items()}
    rates: dict[str, list[float]] = {name: [] for name in FORMS}
    for form in FORMS:
        seconds(arguments, form, states[form])  # the first step plans the convolutions
    for _ in range(arguments.rounds):
        for form in FORMS:
            rates[form].append(arguments.batch_size / seconds(arguments, form, states[form]))
    report(arguments, {form: median(values) for form, values in rates.items()})


def state(arguments: argparse.Namespace, *, channels_last: bool, precision: str) -> State:
    """Builds the networks in one of the forms."""
    return new_state(
        TrainSettings(
            netG="unet_128",
            ngf=arguments.ngf,
            ndf=arguments.ngf,
            crop_size=arguments.size,
            load_size=arguments.size,
            channels_last=channels_last,
            precision=precision,
        )
    )


def seconds(arguments: argparse.Namespace, form: str, trained: State) -> float:
    """Returns how long one step takes."""
    layout = torch.channels_last if FORMS[form]["channels_last"] else torch.contiguous_format
    shape = (arguments.batch_size, 3, arguments.size, arguments.size)
    real_A, real_B = (torch.rand(shape, device=trained.device).to(memory_format=layout) * 2 - 1 for _ in "AB")
    began = time.perf_counter()
    train_step(trained, real_A, real_B, gan_mode="vanilla", lambda_L1=100.0)
    if trained.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def report(arguments: argparse.Namespace, rates: dict[str, float]) -> None:
    """Prints pictures/s and the ratio to the plain form, and writes them down."""
    for form, rate in rates.items():
        print(f"{form:20} {rate:7.2f} pictures/s   {rate / rates['plain']:.2f} x plain")
    result = {
        "arguments": vars(arguments),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "torch": torch.__version__,
        "pictures_per_second": {form: round(rate, 2) for form, rate in rates.items()},
        "over_plain": {form: round(rate / rates["plain"], 2) for form, rate in rates.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
