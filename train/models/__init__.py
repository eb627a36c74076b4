"""The networks of pix2pix, rebuilt from their configuration.

A configuration is a frozen dataclass whose fields carry the references' own flag names; it travels in a checkpoint's
`config.json` as plain JSON.
"""

from train.models.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    UnknownArchitecture,
    blocks,
    size_multiple,
    smallest_size,
)
from train.models.initialise import initialise
from train.models.patchgan import PatchGAN
from train.models.resnet import ResNet
from train.models.unet import UNet

__all__ = [
    "DiscriminatorConfig",
    "GeneratorConfig",
    "PatchGAN",
    "ResNet",
    "UNet",
    "UnknownArchitecture",
    "build_discriminator",
    "build_generator",
    "initialise",
    "size_multiple",
    "smallest_size",
]


def build_generator(config: GeneratorConfig) -> UNet | ResNet:
    """Returns the generator: float [N, input_nc, H, W] in [-1, 1] to float [N, output_nc, H, W] in [-1, 1].

    H and W must be multiples of `size_multiple(config)`, from `smallest_size(config)`. The weights are PyTorch's
    defaults; `initialise` draws those of the paper.
    """
    return ResNet(config) if blocks(config) else UNet(config)


def build_discriminator(config: DiscriminatorConfig) -> PatchGAN:
    """Returns the discriminator: float [N, input_nc + output_nc, H, W] to logits [N, 1, h, w], one for each patch."""
    return PatchGAN(config)
