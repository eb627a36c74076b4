from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from torch import Tensor, nn

from export import optimize
from export.graph import to_onnx
from export.metadata import PictureSpec, Samples
from export.translator import Translator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.metadata import Scaling

LEVELS = {"uint8": 255, "uint16": 65_535}


class Given(nn.Module):
    """Gives these values, whatever the picture is."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = torch.tensor(values).reshape(1, 1, 1, -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.values + x * 0


class Stretched(nn.Module):
    """Takes [0, 1] to [-1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 - 1


def translator(
    network: nn.Module, samples: Samples, channels: tuple[int, int] = (1, 1), scaling: Scaling = "signed"
) -> Translator:
    side = {"uint8": 16, "uint16": 256}[samples]
    given, made = (PictureSpec.of(side, side, count, dtype=samples) for count in channels)
    return Translator(network, given=given, made=made, scaling=scaling).eval()


def ramp(samples: Samples) -> NDArray[Any]:
    """Every level once, [1, H, W, 1]."""
    side = {"uint8": 16, "uint16": 256}[samples]
    return np.arange(side * side).astype(samples).reshape(1, side, side, 1)


@pytest.mark.parametrize("samples", ["uint8", "uint16"])
@pytest.mark.parametrize(("network", "scaling"), [(nn.Identity(), "signed"), (Stretched(), "unit")])
def test_every_level_goes_through_unchanged(samples: Samples, network: nn.Module, scaling: Scaling) -> None:
    levels = ramp(samples)
    tried = translator(network, samples, scaling=scaling)
    assert np.array_equal(tried(torch.from_numpy(levels)).numpy(), levels)
    session = onnxruntime.InferenceSession(optimize.clean(to_onnx(tried)).SerializeToString())
    assert np.array_equal(session.run(None, {"image": levels})[0], levels)


@pytest.mark.parametrize("samples", ["uint8", "uint16"])
def test_rounding_is_to_the_nearest_level_and_halves_go_to_even(samples: Samples) -> None:
    half = LEVELS[samples] / 2
    tried = translator(Given(-1.5, -1.0, 0.0, 0.5 / half, 1.4 / half, 1.0, 1.5), samples)
    found = tried(torch.zeros(1, 1, 7, 1, dtype=getattr(torch, samples)))
    # Half of the largest level lies between two; the even one is above it.
    middle = round(half)
    assert found.flatten().tolist() == [0, 0, middle, middle, middle + 1, LEVELS[samples], LEVELS[samples]]


@pytest.mark.parametrize("samples", ["uint8", "uint16"])
@pytest.mark.parametrize(("scaling", "least"), [("signed", -1.0), ("unit", 0.0)])
def test_network_takes_the_range_that_it_was_trained_on(samples: Samples, scaling: Scaling, least: float) -> None:
    class Seen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.range = x.min().item(), x.max().item()
            return x

    seen = Seen()
    translator(seen, samples, scaling=scaling)(torch.from_numpy(ramp(samples)))
    assert seen.range == (least, 1.0)


@pytest.mark.parametrize("channels", [(1, 3), (2, 5), (13, 1)])
def test_channels_stay_in_their_order(channels: tuple[int, int]) -> None:
    class Picked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, [i % channels[0] for i in range(channels[1])]]

    pictures = np.random.default_rng(0).integers(0, 65_536, (2, 256, 256, channels[0])).astype(np.uint16)
    found = translator(Picked(), "uint16", channels)(torch.from_numpy(pictures)).numpy()
    assert np.array_equal(found, pictures[..., [i % channels[0] for i in range(channels[1])]])


def test_samples_of_both_sides_may_differ() -> None:
    made = PictureSpec.of(16, 16, 1, dtype="uint16")
    tried = Translator(nn.Identity(), given=PictureSpec.of(16, 16, 1), made=made)
    levels = ramp("uint8")
    assert np.array_equal(tried(torch.from_numpy(levels)).numpy(), levels.astype(np.uint16) * 257)
