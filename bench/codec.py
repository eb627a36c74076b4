"""Times the codec's libraries and settings side by side: `python bench/codec.py [--seconds 0.2]`.

Ten OpenMoji drawings, the same drawings as a network would return them (softened, a little noise), and ten made-up
photographs, 256 x 256 RGB. Milliseconds of one thread's CPU time and kilobytes a picture, and each time over
that of the setting the service uses (marked *).
"""

from __future__ import annotations

import argparse
import time
from io import BytesIO
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from PIL import Image

from service.limits import Limits
from service.picture.decode import decode
from service.picture.encode import Format, encode
from train.pairs.openmoji import drawings, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Encoder = Callable[[Pixels], bytes]

T = TypeVar("T")

SIZE = 256
LIMITS = Limits(max_bytes=10_000_000, max_side=SIZE, max_pixels=SIZE * SIZE)
LEVEL, STRATEGY, FILTER = cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_FILTER


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.2, help="least time spent on each figure")
    seconds = parser.parse_args().seconds
    pictures = samples()
    print(f"{'encode':<34}" + "".join(f"{name:>28}" for name in pictures))
    for group in encoders():
        compare(group, pictures, seconds)
    print(f"\n{'decode':<34}" + "".join(f"{name:>28}" for name in pictures))
    for label, (write, readers) in decoders().items():
        files = {name: [write(picture) for picture in group] for name, group in pictures.items()}
        compare({f"{label} {reader}": read for reader, read in readers.items()}, files, seconds)


def samples() -> dict[str, list[Pixels]]:
    """Returns ten pictures of each kind."""
    noise = np.random.default_rng(0)
    drawn = [render(drawing.svg, SIZE) for drawing in drawings()[100:3100:300]]
    soft = [cv2.GaussianBlur(picture, (3, 3), 0) + noise.normal(0, 1.5, picture.shape) for picture in drawn]
    return {
        "drawings": drawn,
        "translations": [np.clip(picture, 0, 255).astype(np.uint8) for picture in soft],
        "photographs": [_photograph(noise) for _ in range(10)],
    }


def _photograph(noise: np.random.Generator) -> Pixels:
    """Sums noise of seven scales, the coarse ones strongest, as the spectrum of photographs has it."""
    scales = [noise.normal(0, side**-0.8, (side, side, 3)) for side in (2, 4, 8, 16, 32, 64, 128)]
    total = sum(cv2.resize(scale, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for scale in scales)
    levels = (total - np.min(total)) / np.ptp(total) * 255 + noise.normal(0, 2, (SIZE, SIZE, 3))
    return np.clip(levels, 0, 255).astype(np.uint8)


def encoders() -> list[dict[str, Encoder]]:
    """Returns, for each format, the service's encoder first and then the alternatives."""
    return [
        {
            "PNG service *": lambda picture: encode(picture, Format.PNG, 0),
            "PNG OpenCV level 1": opencv(".png", LEVEL, 1),
            "PNG OpenCV level 1, filter up": opencv(".png", LEVEL, 1, FILTER, cv2.IMWRITE_PNG_FILTER_UP),
            "PNG OpenCV level 1, no filter": opencv(".png", LEVEL, 1, FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
            "PNG OpenCV level 6": opencv(".png", LEVEL, 6),
            "PNG Pillow level 1": pillow("PNG", compress_level=1),
            "PNG Pillow default": pillow("PNG"),
        },
        {
            "JPEG service *": lambda picture: encode(picture, Format.JPEG, 90),
            "JPEG Pillow 90": pillow("JPEG", quality=90),
        },
        {
            "WebP service *": lambda picture: encode(picture, Format.WEBP, 90),
            "WebP Pillow 90": pillow("WEBP", quality=90),
            "WebP Pillow 90, fastest": pillow("WEBP", quality=90, method=0),
        },
    ]


def decoders() -> dict[str, tuple[Encoder, dict[str, Callable[[bytes], object]]]]:
    """Returns, for each format, how the files are written, then the service's decoder and the alternatives."""
    readers: dict[str, Callable[[bytes], object]] = {
        "service *": lambda file: decode(file, 3, LIMITS),
        "Pillow": lambda file: np.asarray(Image.open(BytesIO(file)).convert("RGB")),
        "OpenCV": lambda file: cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB),
    }
    writers = {"PNG": pillow("PNG"), "JPEG": pillow("JPEG", quality=90), "WebP": pillow("WEBP", quality=90)}
    return {name: (write, readers) for name, write in writers.items()}


def opencv(extension: str, *options: int) -> Encoder:
    """Returns OpenCV's encoder with these options."""
    return lambda picture: cv2.imencode(extension, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def pillow(file_format: str, **options: int) -> Encoder:
    """Returns Pillow's encoder with these options."""

    def write(picture: Pixels) -> bytes:
        file = BytesIO()
        Image.fromarray(picture).save(file, file_format, **options)
        return file.getvalue()

    return write


def compare(candidates: Mapping[str, Callable[[T], object]], inputs: Mapping[str, Sequence[T]], seconds: float) -> None:
    """Prints a line for each candidate: milliseconds, times the first candidate's, kilobytes where it gives bytes."""
    first: dict[str, float] = {}
    for label, work in candidates.items():
        cells = []
        for name, group in inputs.items():
            spent = best_seconds(work, group, seconds)
            results = [work(item) for item in group]
            size = sum(len(result) for result in results if isinstance(result, bytes)) / len(results) / 1000
            ratio = spent / first.setdefault(name, spent)
            cells.append(f"{spent * 1000:9.2f} ms {ratio:5.2f}x" + (f"{size:7.1f} kB" if size else " " * 10))
        print(f"{label:<34}" + "".join(cells))


def best_seconds(work: Callable[[T], object], group: Sequence[T], seconds: float) -> float:
    """Returns the CPU seconds that an item took in the fastest of at least three rounds."""
    rounds: list[float] = []
    until = time.perf_counter() + seconds
    while len(rounds) < 3 or time.perf_counter() < until:
        started = time.thread_time()
        for item in group:
            work(item)
        rounds.append((time.thread_time() - started) / len(group))
    return min(rounds)


if __name__ == "__main__":
    main()
