from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from export.errors import OptionError
from export.statistics import PerImageNorm, as_reference, choose, freeze

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


@pytest.mark.parametrize(
    ("wanted", "norm", "batch_size", "expected"),
    [
        ("auto", "batch", 1, "image"),
        ("auto", "batch", 16, "running"),
        ("auto", "instance", 16, "image"),
        ("auto", "none", 1, "none"),
        ("running", "batch", 1, "running"),
        ("image", "batch", 16, "image"),
        ("image", "instance", 1, "image"),
    ],
)
def test_statistics_suit_how_the_model_was_trained(wanted: str, norm: str, batch_size: int, expected: str) -> None:
    assert choose(wanted, norm, batch_size).statistics == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("wanted", "norm"), [("running", "instance"), ("running", "none"), ("image", "none")])
def test_statistics_that_the_norm_has_not_are_refused(wanted: str, norm: str) -> None:
    with pytest.raises(OptionError, match=f"--statistics {wanted}"):
        choose(wanted, norm, 1)  # type: ignore[arg-type]


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
