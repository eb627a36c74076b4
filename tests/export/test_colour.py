from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab  # type: ignore[import-untyped]
from torch import Tensor, nn

from export import optimize
from export.colour import Lightness, ToRgb
from export.graph import to_onnx
from export.metadata import PictureSpec, Samples
from export.translator import Translator

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = {"uint8": 255, "uint16": 65_535}


class Remembered(nn.Module):
    """A perfect network for a single picture: it gives that picture's a and b, whatever it is shown."""

    ab: Tensor

    def __init__(self, ab: NDArray[Any]) -> None:
        super().__init__()
        self.register_buffer("ab", planes(ab / 110))

    def forward(self, lightness: Tensor) -> Tensor:
        return self.ab + lightness * 0


def planes(pixels: NDArray[Any]) -> Tensor:
    """[H, W, C] → float [1, C, H, W]."""
    return torch.from_numpy(pixels[np.newaxis]).permute(0, 3, 1, 2).float()


def cube(samples: Samples, step: int = 5) -> NDArray[Any]:
    """All of RGB in steps, its corners among it, and under it all greys: [H, W, 3]."""
    most = LEVELS[samples]
    steps = np.linspace(0, most, 256 // step + 1).round()
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    greys = np.repeat(np.linspace(0, most, 256).round()[:, np.newaxis], 3, axis=1)
    pixels = np.concatenate([colours, greys])
    return pixels[: len(pixels) // 4 * 4].reshape(4, -1, 3).astype(samples)


def scene(samples: Samples) -> tuple[Translator, NDArray[Any]]:
    pixels = cube(samples)
    spec = PictureSpec.of(*pixels.shape, dtype=samples)
    return Translator(Remembered(rgb2lab(pixels)[..., 1:]), given=spec, made=spec, lab=True).eval(), pixels


@pytest.mark.parametrize("samples", ["uint8", "uint16"])
def test_lightness_is_that_of_skimage_and_opencv(samples: Samples) -> None:
    pixels = cube(samples)
    rgb = torch.from_numpy(pixels[np.newaxis]).permute(0, 3, 1, 2)
    found = (Lightness(LEVELS[samples])(rgb)[0, 0].numpy() + 1) * 50
    assert np.abs(found - rgb2lab(pixels)[..., 0]).max() < 1e-3
    lab = cv2.cvtColor(pixels.astype(np.float32) / LEVELS[samples], cv2.COLOR_RGB2Lab)
    assert np.abs(found - lab[..., 0]).max() < 100 / 255


@pytest.mark.parametrize("samples", ["uint8", "uint16"])
def test_true_colours_bring_the_picture_back(samples: Samples) -> None:
    translator, pixels = scene(samples)
    with torch.inference_mode():
        found = translator(torch.from_numpy(pixels[np.newaxis])).numpy()[0]
    assert found.dtype == pixels.dtype
    assert np.abs(found.astype(int) - pixels).max() <= 1


def test_graph_brings_the_picture_back_too() -> None:
    translator, pixels = scene("uint8")
    session = onnxruntime.InferenceSession(optimize.clean(to_onnx(translator)).SerializeToString())
    (found,) = session.run(None, {"image": pixels[np.newaxis]})
    assert np.abs(found[0].astype(int) - pixels).max() <= 1


def drawn(spread: float) -> NDArray[np.float64]:
    """Returns Lab [300, 300, 3] with a and b up to `spread` from grey; its first column is black, its last white."""
    random = np.random.default_rng(0)
    lab = np.concatenate([random.uniform(0, 100, (300, 300, 1)), random.uniform(-spread, spread, (300, 300, 2))], -1)
    lab[:, 0, 0], lab[:, -1, 0] = 0, 100
    return lab


def levels(lab: NDArray[np.float64]) -> NDArray[Any]:
    rgb = ToRgb()(planes(lab[..., :1] / 50 - 1), planes(lab[..., 1:] / 110))
    return (rgb.clamp(0, 1) * 255)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("spread", [20, 110])
def test_colours_are_clipped_as_skimage_clips(spread: float) -> None:
    lab = drawn(spread)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some colours are beyond the gamut is what is tried
        wanted = lab2rgb(lab) * 255
    assert np.abs(levels(lab) - wanted).max() < 0.5


def test_colours_within_the_gamut_are_those_of_opencv() -> None:
    lab = drawn(60)
    found = levels(lab)
    within = ((found > 0) & (found < 255)).all(-1)
    wanted = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_Lab2RGB) * 255
    assert within.mean() > 0.3
    assert np.abs(found - wanted)[within].max() < 1


def test_black_and_white_stay() -> None:
    assert np.allclose(levels(np.array([[[0.0, 0, 0], [100.0, 0, 0]]])), [[[0] * 3, [255] * 3]], atol=0.1)
