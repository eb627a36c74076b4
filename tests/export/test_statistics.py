from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from export.errors import OptionError
from export.metadata import Figures
from export.statistics import Choice, PerImageNorm, as_reference, choose, freeze

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray


@pytest.fixture
def real_A(drawn: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1


def translate_as_the_references_do(generator: nn.Module, picture: torch.Tensor) -> torch.Tensor:
    """One picture through batch norms that look at this picture alone, as in training, with the dropout off."""
    reference = copy.deepcopy(generator).train()
    for module in reference.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return reference(picture[None])[0]


def figures(l1: float) -> Figures:
    return Figures(l1=l1, psnr=20.0, ssim=0.7, pairs=50)


def choice(wanted: str = "auto", norm: str = "batch", **known: object) -> Choice:
    facts = {"batch_size": 1, "gathered": True, "origin": "lapis", "measured": None, **known}
    return choose(wanted, norm, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "norm", "batch_size", "expected"),
    [
        ("auto", "batch", 1, "image"),
        ("auto", "batch", 16, "running"),
        ("auto", "batch", None, "image"),
        ("auto", "instance", 16, "image"),
        ("auto", "none", 1, "none"),
        ("running", "batch", 1, "running"),
        ("image", "batch", 16, "image"),
        ("image", "instance", 1, "image"),
    ],
)
def test_statistics_suit_how_the_model_was_trained(
    wanted: str, norm: str, batch_size: int | None, expected: str
) -> None:
    assert choice(wanted, norm, batch_size=batch_size).statistics == expected


@pytest.mark.parametrize(("wanted", "norm"), [("running", "instance"), ("running", "none"), ("image", "none")])
def test_statistics_that_the_norm_has_not_are_refused(wanted: str, norm: str) -> None:
    with pytest.raises(OptionError, match=f"--statistics {wanted}"):
        choice(wanted, norm)


@pytest.mark.parametrize(
    ("image", "running", "expected"),
    [
        (0.05, 0.06, "image"),
        (0.06, 0.05, "running"),
        (0.05, 0.05, "running"),
        (float("nan"), 0.5, "running"),
        (0.5, float("nan"), "image"),
    ],
)
def test_the_better_on_held_out_pairs_is_kept_whatever_the_batch_size(
    image: float, running: float, expected: str
) -> None:
    measured = {"image": figures(image), "running": figures(running)}
    for batch_size in (1, 16, None):
        kept = choice(batch_size=batch_size, measured=measured)
        assert kept.statistics == expected
        assert f"{image:.4f} with image, {running:.4f} with running, on 50 held-out pairs" in kept.reason


def test_what_was_asked_for_stands_against_the_figures() -> None:
    assert choice("image", measured={"image": figures(0.9), "running": figures(0.1)}).statistics == "image"


def test_figures_of_one_alone_decide_nothing() -> None:
    assert choice(batch_size=16, measured={"image": figures(0.1)}).statistics == "running"


def test_running_statistics_that_were_never_gathered_are_refused_and_never_chosen() -> None:
    facts = {"gathered": False, "origin": "pix2pix-tensorflow", "batch_size": 16}
    with pytest.raises(OptionError, match="pix2pix-tensorflow carries no running statistics"):
        choice("running", **facts)
    assert choice(**facts) == ("image", "pix2pix-tensorflow gathers no running statistics")
    assert choice("image", **facts).statistics == "image"


def test_unknown_batch_size_follows_the_reference_implementation() -> None:
    kept = choice(batch_size=None, origin="pytorch-CycleGAN-and-pix2pix")
    assert kept.statistics == "image"
    assert "pytorch-CycleGAN-and-pix2pix" in kept.reason


@torch.no_grad()
def test_image_statistics_equal_the_references_at_batch_one(
    make_generator: Callable[..., nn.Module], real_A: torch.Tensor
) -> None:
    generator = make_generator()
    together = freeze(generator, "image")(real_A)
    for picture, translated in zip(real_A, together, strict=True):
        torch.testing.assert_close(translated, translate_as_the_references_do(generator, picture), atol=1e-3, rtol=0)


@torch.no_grad()
def test_what_export_compares_with_is_what_the_references_do(
    make_generator: Callable[..., nn.Module], real_A: torch.Tensor
) -> None:
    generator = make_generator()
    alone = as_reference(generator, "image")(real_A[:1])[0]
    torch.testing.assert_close(alone, translate_as_the_references_do(generator, real_A[0]))


@torch.no_grad()
def test_running_statistics_are_folded_away_and_equal_eval(
    make_generator: Callable[..., nn.Module], real_A: torch.Tensor
) -> None:
    generator = make_generator()
    folded = freeze(generator, "running")
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    torch.testing.assert_close(folded(real_A), generator(real_A), atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_two_statistics_give_different_pictures(
    make_generator: Callable[..., nn.Module], real_A: torch.Tensor
) -> None:
    generator = make_generator()
    apart = (freeze(generator, "image")(real_A) - freeze(generator, "running")(real_A)).abs().mean()
    assert apart > 0.05


@pytest.mark.parametrize("statistics", ["image", "running"])
def test_the_network_itself_stays_as_it_is(make_generator: Callable[..., nn.Module], statistics: str) -> None:
    generator = make_generator()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    freeze(generator, statistics)  # type: ignore[arg-type]
    as_reference(generator, statistics)(torch.zeros(1, 3, 128, 128))  # type: ignore[arg-type]
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_norm_of_a_single_pixel_gives_the_shift() -> None:
    norm = nn.BatchNorm2d(2)
    norm.bias.data = torch.tensor([0.25, -4.0])
    normalised = PerImageNorm(norm)(torch.randn(3, 2, 1, 1))
    torch.testing.assert_close(normalised.detach(), norm.bias.detach()[:, None, None].expand(3, 2, 1, 1))


@pytest.mark.parametrize("make_norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 5)])
@torch.no_grad()
def test_a_norm_sees_one_picture_at_a_time_at_any_size(
    make_norm: Callable[..., nn.Module], size: tuple[int, int]
) -> None:
    norm = make_norm(2, affine=True)
    norm.weight.data, norm.bias.data = torch.tensor([1.5, -0.5]), torch.tensor([0.25, -4.0])
    maps = torch.randn(3, 2, *size)
    centred = maps - maps.mean((2, 3), keepdim=True)
    deviation = (centred.square().mean((2, 3), keepdim=True) + norm.eps).sqrt()
    expected = centred / deviation * norm.weight[:, None, None] + norm.bias[:, None, None]
    block = nn.Sequential(norm)
    torch.testing.assert_close(freeze(block, "image")(maps), expected, atol=1e-4, rtol=1e-4)
    alone = torch.cat([as_reference(block, "image")(one[None]) for one in maps])
    torch.testing.assert_close(alone, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@torch.no_grad()
def test_any_picture_in_any_batch_equals_the_reference_at_batch_one_with_norm_at_the_bottleneck(
    make_generator: Callable[..., nn.Module], real_A: torch.Tensor, norm: str
) -> None:
    generator = make_generator(innermost_norm=True, all_biases=True, norm=norm)
    frozen, reference = freeze(generator, "image"), as_reference(generator, "image")
    wide = torch.cat([real_A, real_A.flip(3)], dim=3)
    for pictures in (real_A, wide):  # a bottleneck of 1x1, and one of 1x2
        together = frozen(pictures)
        for picture, translated in zip(pictures, together, strict=True):
            torch.testing.assert_close(translated, reference(picture[None])[0], atol=1e-3, rtol=0)


@torch.no_grad()
def test_running_statistics_are_folded_into_convolutions_with_biases(
    make_generator: Callable[..., nn.Module], real_A: torch.Tensor
) -> None:
    generator = make_generator(innermost_norm=True, all_biases=True)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            module.bias.normal_(0, 0.3)
    torch.testing.assert_close(freeze(generator, "running")(real_A), generator(real_A), atol=1e-4, rtol=0)


ARCHITECTURES = [{"netG": name} for name in ("resnet_6blocks", "global")]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture["netG"])
@torch.no_grad()
def test_residual_generators_freeze_as_well(
    make_generator: Callable[..., nn.Module], real_A: torch.Tensor, architecture: dict[str, str]
) -> None:
    generator = make_generator(**architecture, norm="batch")
    small = real_A[:2, :, :64, :64]
    frozen = freeze(generator, "running")
    assert not [module for module in frozen.modules() if isinstance(module, nn.BatchNorm2d)]
    torch.testing.assert_close(frozen(small), generator(small), atol=1e-3, rtol=0)
    together = freeze(generator, "image")(small)
    for picture, translated in zip(small, together, strict=True):
        torch.testing.assert_close(translated, translate_as_the_references_do(generator, picture), atol=1e-3, rtol=0)


@pytest.mark.parametrize("make", [nn.BatchNorm2d, partial(nn.InstanceNorm2d, affine=True), nn.InstanceNorm2d])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (640, 320)])
def test_norm_of_wide_maps_is_the_same_norm(make: Callable[[int], nn.Module], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    norm = make(3)
    if norm.weight is not None:
        norm.weight.data.normal_(1, 0.3)
        norm.bias.data.normal_(0, 0.3)
    x = torch.randn(2, 3, *size) * 3 + 2
    torch.testing.assert_close(PerImageNorm(norm, wide=True)(x), PerImageNorm(norm)(x), atol=3e-4, rtol=1e-5)
