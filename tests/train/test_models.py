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
    smallest_size,
)


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_unet_256_has_the_parameters_of_the_reference() -> None:
    assert parameters(build_generator(GeneratorConfig())) == 54_413_955


def test_unet_128_lacks_one_level_of_unet_256() -> None:
    # One level: 512→512 down and 1024→512 up, each 4x4 with a batch norm (scale and shift).
    level = 16 * 512 * 512 + 2 * 512 + 16 * 1024 * 512 + 2 * 512
    assert parameters(build_generator(GeneratorConfig(netG="unet_128"))) == 54_413_955 - level


def test_larger_unets_have_levels_of_the_same_width_more() -> None:
    level = 16 * 512 * 512 + 2 * 512 + 16 * 1024 * 512 + 2 * 512
    assert parameters(build_generator(GeneratorConfig(netG="unet_512"))) == 54_413_955 + level


@pytest.mark.parametrize(
    ("netG", "norm", "input_nc", "published"),
    [
        ("resnet_9blocks", "instance", 3, 11_378_179),  # CycleGAN's, "11.378 M"
        ("resnet_6blocks", "instance", 3, 7_837_699),  # "7.838 M"
        ("resnet_9blocks", "batch", 3, 11_383_427),
        ("global", "instance", 36, 182_546_755),  # pix2pixHD on Cityscapes: 35 labels and the instances' edges
    ],
)
def test_residual_generators_have_the_parameters_of_the_references(
    netG: str, norm: str, input_nc: int, published: int
) -> None:
    with torch.device("meta"):
        network = build_generator(GeneratorConfig(netG=netG, norm=norm, input_nc=input_nc))
    assert parameters(network) == published


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


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(netG="resnet_6blocks", ngf=2),
        GeneratorConfig(netG="resnet_2blocks", ngf=2, norm="none", input_nc=1, output_nc=5),
        GeneratorConfig(netG="global", ngf=2, norm="instance", n_blocks_global=1),
        GeneratorConfig(netG="global", ngf=2, norm="instance", norm_affine=True, n_downsample_global=1),
        GeneratorConfig(netG="unet_32", ngf=2),
    ],
    ids=lambda config: config.netG,
)
def test_the_smallest_size_is_taken_and_no_smaller_one(config: GeneratorConfig) -> None:
    network, smallest, multiple = build_generator(config).eval(), smallest_size(config), size_multiple(config)
    answer = network(torch.randn(1, config.input_nc, smallest, smallest + multiple))
    assert answer.shape == (1, config.output_nc, smallest, smallest + multiple)
    with pytest.raises((RuntimeError, ValueError)):
        network(torch.randn(1, config.input_nc, smallest - multiple, smallest))


def test_a_resnet_reflects_its_borders() -> None:
    network = build_generator(GeneratorConfig(netG="resnet_6blocks", ngf=4, norm="none")).eval().requires_grad_(False)
    for layer, channels in (("first", 3), ("block1", 16), ("last", 4)):
        flat = network.get_submodule(layer)(torch.full((1, channels, 9, 9), 0.5))
        assert torch.allclose(flat, flat[..., 4:5, 4:5].expand_as(flat), atol=1e-6), layer


def test_residual_blocks_add_to_what_they_are_given() -> None:
    network = build_generator(GeneratorConfig(netG="resnet_6blocks", ngf=2))
    block = network.get_submodule("block3").eval()
    torch.nn.init.zeros_(block.second.conv.weight)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(block(x), x)


def test_dropout_is_in_each_residual_block() -> None:
    network = build_generator(GeneratorConfig(netG="resnet_6blocks", ngf=2))
    assert sum(isinstance(module, torch.nn.Dropout) for module in network.modules()) == 6


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
    [
        ({"netG": "unet_2048"}, "netG"),
        ({"netG": "resnet_0blocks"}, "netG"),
        ({"norm": "layer"}, "norm"),
        ({"ngf": 0}, "ngf"),
        ({"depth": 8}, "depth"),
    ],
)
def test_an_unknown_architecture_is_refused_by_field(fields: dict[str, object], named: str) -> None:
    with pytest.raises(UnknownArchitecture, match=named):
        GeneratorConfig.from_mapping(fields)
