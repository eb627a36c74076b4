from __future__ import annotations

import pytest
import torch

from train.models import (
    DiscriminatorConfig,
    GeneratorConfig,
    UnknownArchitecture,
    build_discriminator,
    build_generator,
    initialise,
    size_multiple,
)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_unet_256_has_the_parameters_of_the_reference() -> None:
    assert parameters(build_generator(GeneratorConfig())) == 54_413_955


def test_unet_128_lacks_one_level_of_unet_256() -> None:
    # One level: 512→512 down and 1024→512 up, each 4x4 with a batch norm (scale and shift).
    level = 16 * 512 * 512 + 2 * 512 + 16 * 1024 * 512 + 2 * 512
    assert parameters(build_generator(GeneratorConfig(netG="unet_128"))) == 54_413_955 - level


def test_patchgan_70_has_the_parameters_of_the_reference() -> None:
    assert parameters(build_discriminator(DiscriminatorConfig())) == 2_768_705


@pytest.mark.parametrize(("n_layers_D", "field"), [(1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_a_patchgan_logit_sees_exactly_its_receptive_field(n_layers_D: int, field: int) -> None:
    network = build_discriminator(DiscriminatorConfig(input_nc=2, ndf=2, n_layers_D=n_layers_D, norm="none"))
    picture = torch.randn(1, 2, 640, 640, requires_grad=True)
    logits = network(picture)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], picture)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == field


def test_patchgan_70_judges_30_by_30_patches_of_a_256_picture() -> None:
    assert build_discriminator(DiscriminatorConfig(ndf=2))(torch.zeros(1, 6, 256, 256)).shape == (1, 1, 30, 30)


@pytest.mark.parametrize(("netG", "height", "width"), [("unet_128", 128, 256), ("unet_256", 256, 256)])
def test_a_unet_keeps_the_size_and_answers_within_tanh(netG: str, height: int, width: int) -> None:
    config = GeneratorConfig(netG=netG, input_nc=1, output_nc=2, ngf=2)
    answer = build_generator(config)(torch.randn(2, 1, height, width))
    assert answer.shape == (2, 2, height, width)
    assert float(answer.detach().abs().max()) <= 1
    assert height % size_multiple(config) == width % size_multiple(config) == 0


def test_skips_carry_detail_past_the_bottleneck() -> None:
    network = build_generator(GeneratorConfig(netG="unet_128", ngf=4)).eval()
    torch.nn.init.zeros_(network.get_submodule("up7").conv.weight)
    flat, drawn = torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128)
    drawn[..., 60:68, 60:68] = 1
    with torch.no_grad():
        assert not torch.equal(network(flat), network(drawn))


def test_dropout_is_on_the_first_three_layers_of_the_decoder() -> None:
    network = build_generator(GeneratorConfig())
    with_dropout = [name for name, module in network.named_children() if getattr(module, "dropout", None)]
    assert with_dropout == ["up8", "up7", "up6"]


def test_first_weights_are_drawn_as_in_the_paper() -> None:
    network = build_generator(GeneratorConfig(ngf=16))
    initialise(network, torch.Generator().manual_seed(0))
    network.requires_grad_(requires_grad=False)
    convolution, norm = network.get_submodule("down5").conv, network.get_submodule("down5").norm
    assert float(convolution.weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(norm.weight.mean()) == pytest.approx(1, abs=0.01)
    assert not norm.bias.any()


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"netG": "unet_512"}, "netG"), ({"norm": "layer"}, "norm"), ({"ngf": 0}, "ngf"), ({"depth": 8}, "depth")],
)
def test_an_unknown_architecture_is_refused_by_field(fields: dict[str, object], named: str) -> None:
    with pytest.raises(UnknownArchitecture, match=named):
        GeneratorConfig.from_mapping(fields)
