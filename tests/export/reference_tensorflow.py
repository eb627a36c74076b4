"""pix2pix-tensorflow's generator once more, from its description alone: variables by name, maps [N, H, W, C].

Nothing of train/ or export/ is used. Convolutions are written as sums over the kernel's taps, so that no library's idea
of layouts or of "same" padding can agree by accident.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

Variables = dict[str, NDArray[np.float32]]


def widths(depth: int, ngf: int) -> list[int]:
    return [ngf * (1, 2, 4, 8)[min(i, 3)] for i in range(depth)]


def variables(depth: int = 7, ngf: int = 4, given: int = 3, made: int = 3, seed: int = 0) -> Variables:
    """Random weights under the names of today; none is 0, so that a lost one shows."""
    random = np.random.default_rng(seed)
    drawn: Variables = {}

    def draw(name: str, *shape: int, mean: float = 0.0, deviation: float = 0.3) -> None:
        drawn[f"generator/{name}"] = random.normal(mean, deviation, shape).astype(np.float32)

    filters = widths(depth, ngf)
    for i in range(1, depth + 1):
        before = given if i == 1 else filters[i - 2]
        draw(f"encoder_{i}/conv2d/kernel", 4, 4, before, filters[i - 1], deviation=0.08)
        draw(f"encoder_{i}/conv2d/bias", filters[i - 1])
        if i > 1:
            draw(f"encoder_{i}/batch_normalization/gamma", filters[i - 1], mean=1)
            draw(f"encoder_{i}/batch_normalization/beta", filters[i - 1])
    for i in range(depth, 0, -1):
        before = filters[i - 1] * (1 if i == depth else 2)
        after = filters[i - 2] if i > 1 else made
        draw(f"decoder_{i}/conv2d_transpose/kernel", 4, 4, after, before, deviation=0.08)
        draw(f"decoder_{i}/conv2d_transpose/bias", after)
        if i > 1:
            draw(f"decoder_{i}/batch_normalization/gamma", after, mean=1)
            draw(f"decoder_{i}/batch_normalization/beta", after)
    return drawn


def in_first_names(drawn: Variables) -> Variables:
    """The same weights as the project's first versions named them; those had no biases."""
    renamed = {
        name.replace("conv2d_transpose/kernel", "deconv/filter")
        .replace("conv2d/kernel", "conv/filter")
        .replace("batch_normalization/gamma", "batchnorm/scale")
        .replace("batch_normalization/beta", "batchnorm/offset"): value
        for name, value in drawn.items()
    }
    return {name: value for name, value in renamed.items() if not name.endswith("/bias")}


def translate(drawn: Variables, picture: NDArray[np.float32]) -> NDArray[np.float64]:
    """One picture [1, H, W, C] in [-1, 1], as at test time but for the dropout, in double precision."""
    depth = max(int(name.split("/")[1].removeprefix("encoder_")) for name in drawn if "/encoder_" in name)
    skips: list[NDArray[np.float64]] = []
    x = picture.astype(np.float64)
    for i in range(1, depth + 1):
        scope = f"generator/encoder_{i}"
        x = conv(x if i == 1 else np.where(x > 0, x, 0.2 * x), drawn, scope)
        x = x if i == 1 else norm(x, drawn, scope)
        skips.append(x)
    for i in range(depth, 0, -1):
        scope = f"generator/decoder_{i}"
        x = x if i == depth else np.concatenate([x, skips[i - 1]], axis=3)
        x = deconv(np.maximum(x, 0), drawn, scope)
        x = norm(x, drawn, scope) if i > 1 else np.tanh(x)
    return x


def conv(x: NDArray[np.float64], drawn: Variables, scope: str) -> NDArray[np.float64]:
    """Stride 2, "same": for a 4x4 kernel and even sizes one pixel on each side."""
    kernel = _either(drawn, f"{scope}/conv2d/kernel", f"{scope}/conv/filter")
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1], x.shape[2]
    total = 0.0
    for row in range(4):
        for column in range(4):
            seen = padded[:, row : row + height - 1 : 2, column : column + width - 1 : 2]
            total = total + seen @ kernel[row, column].astype(np.float64)
    return total + drawn.get(f"{scope}/conv2d/bias", 0)


def deconv(x: NDArray[np.float64], drawn: Variables, scope: str) -> NDArray[np.float64]:
    """Stride 2, "same": every pixel paints its 4x4 patch, and a border of one pixel is cut away."""
    kernel = _either(drawn, f"{scope}/conv2d_transpose/kernel", f"{scope}/deconv/filter")
    rows, height, width, _ = x.shape
    painted = np.zeros((rows, 2 * height + 2, 2 * width + 2, kernel.shape[2]))
    for row in range(4):
        for column in range(4):
            patch = x @ kernel[row, column].T.astype(np.float64)
            painted[:, row : row + 2 * height - 1 : 2, column : column + 2 * width - 1 : 2] += patch
    return painted[:, 1:-1, 1:-1] + drawn.get(f"{scope}/conv2d_transpose/bias", 0)


def norm(x: NDArray[np.float64], drawn: Variables, scope: str) -> NDArray[np.float64]:
    """Training mode: the statistics of what comes, eps 1e-5; of a single pixel nothing but the shift is left."""
    gamma = _either(drawn, f"{scope}/batch_normalization/gamma", f"{scope}/batchnorm/scale")
    beta = _either(drawn, f"{scope}/batch_normalization/beta", f"{scope}/batchnorm/offset")
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def _either(drawn: Variables, now: str, first: str) -> NDArray[np.float32]:
    return drawn[now] if now in drawn else drawn[first]


def quantised(drawn: Variables) -> tuple[Variables, NDArray[np.float32], NDArray[np.uint8]]:
    """Every weight by the nearest of 256 levels, as the project's tool spaces them (mu-law); levels and indices too."""
    flat = np.concatenate([drawn[name].ravel() for name in sorted(drawn)])
    largest = np.abs(flat).max()
    steps = np.linspace(-1, 1, 256)
    levels = np.sort(np.sign(steps) * (256 ** np.abs(steps) - 1) / 255 * largest).astype(np.float32)
    indices = np.clip(np.searchsorted((levels[1:] + levels[:-1]) / 2, flat), 0, 255).astype(np.uint8)
    stored, at = {}, 0
    for name in sorted(drawn):
        stored[name] = levels[indices[at : at + drawn[name].size]].reshape(drawn[name].shape)
        at += drawn[name].size
    return stored, levels, indices


def sections(drawn: Variables) -> tuple[bytes, bytes, bytes]:
    """The three sections of a .pict file."""
    _, levels, indices = quantised(drawn)
    shapes = [{"name": name, "shape": list(drawn[name].shape)} for name in sorted(drawn)]
    return json.dumps(shapes).encode(), levels.tobytes(), indices.tobytes()


def joined(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
