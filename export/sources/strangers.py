"""What a state dict is that is not one of the generators that are known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from export.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

KNOWN = (
    "the U-Nets and ResNets of pytorch-CycleGAN-and-pix2pix and the global generator of pix2pixHD (latest_net_G.pth)"
)
# A pattern that one of the names must match, and what it then is: from the plainest sign to the vaguest.
_SIGNS = {
    r"model\d+_\d+\.\d+\..*": "the local enhancer of pix2pixHD (netG local); supported is its global generator",
    r"model\.\d+\.filt": "a generator with anti-aliasing filters, as in contrastive-unpaired-translation (CUT)",
    r"(head|up)_\d+\.(norm|conv)_\d.*": "a SPADE generator",
    r".*\.modulation\.weight|synthesis\..*|mapping\..*|.*\.affine\.weight": "a StyleGAN generator",
    r"scale\d+(_layer\d+)?\..*|layer\d+\.\d+\..*": "the multi-scale discriminator of pix2pixHD; the generator is "
    "in latest_net_G.pth",
    r"net\.\d+\.(weight|bias)": "a pixel discriminator; the generator is in latest_net_G.pth",
    r"(G_[AB]|D_[AB]|netG_[AB]|netD_?[AB]?)\..*": "several networks in one",
    r"features\.\d+\..*|layer\d\.\d+\.conv\d.*|fc\.weight": "a classifier or the network of a perceptual loss",
    r"(down_blocks|up_blocks|time_embedding|unet|model\.diffusion_model)\..*": "a diffusion model",
}


def raise_stranger(file: Path, found: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError where the names are those of another network that people have beside a generator."""
    what = _known_stranger(found)
    if what is not None:
        raise CheckpointError(f"{file} is {what}; wanted is one of {KNOWN}")


def unknown(file: Path, found: Mapping[str, Tensor]) -> CheckpointError:
    """Returns the error for a state dict of which nothing is known, naming what it begins with."""
    first = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in list(found.items())[:3])
    return CheckpointError(f"{file} is no generator that is known: {len(found)} tensors, {first}, …; known are {KNOWN}")


def _known_stranger(found: Mapping[str, Tensor]) -> str | None:
    for sign, what in _SIGNS.items():
        if any(re.fullmatch(sign, name) for name in found):
            return what
    if _side(found, "model.0.weight") == 4:
        return "a PatchGAN discriminator; the generator is in latest_net_G.pth"
    if _side(found, "model.1.weight") == 7 and not any(".conv_block." in name for name in found):
        return "a generator without residual blocks, such as the feature encoder of pix2pixHD"
    return None


def _side(found: Mapping[str, Tensor], name: str) -> int | None:
    """Returns the side of a convolution's kernel, or None where there is no such convolution."""
    return found[name].shape[-1] if name in found and found[name].dim() == 4 else None
