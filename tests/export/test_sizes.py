from __future__ import annotations

import pytest

from export.errors import OptionError
from export.sizes import Sizes, choose
from train.models import GeneratorConfig

UNET = GeneratorConfig(netG="unet_256")
RESNET = GeneratorConfig(netG="resnet_9blocks")


@pytest.mark.parametrize(
    ("wanted", "architecture", "expected"),
    [
        ("auto", UNET, Sizes(256, 256, 0, 0)),
        ("dynamic", UNET, Sizes(256, 256, 256, 256)),
        ("512x1024", UNET, Sizes(512, 1024, 0, 0)),
        ("auto", RESNET, Sizes(256, 256, 4, 8)),
        ("256x256", RESNET, Sizes(256, 256, 0, 0)),
        ("8x300", RESNET, Sizes(8, 300, 0, 0)),
    ],
)
def test_sizes_are_those_that_the_network_can_take(wanted: str, architecture: GeneratorConfig, expected: Sizes) -> None:
    assert choose(wanted, architecture, 256, 256) == expected


@pytest.mark.parametrize(
    ("wanted", "architecture", "nearest"),
    [
        ("300x900", UNET, "256x1024"),
        ("128x256", UNET, "256x256"),
        ("4x100", RESNET, "8x100"),
        ("101x7", RESNET, "100x8"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest(wanted: str, architecture: GeneratorConfig, nearest: str) -> None:
    with pytest.raises(OptionError, match=f"--size {wanted}: .* the nearest is {nearest}"):
        choose(wanted, architecture, 256, 256)
