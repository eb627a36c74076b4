"""Our networks against the references', rebuilt by their tensor names in tests/export/reference_torch.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.errors import CheckpointError, OptionError
from export.sources.pytorch_port import load
from export.sources.source import Wishes
from export.statistics import as_reference, freeze
from tests.export import reference_torch as reference
from tests.export.reference_torch import Resnet, Unet, global_generator, trained

ANYTHING = Wishes()
PORT = "pytorch-CycleGAN-and-pix2pix"


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Saves a network as the references do, with weights like a trained one's."""

    def write(network: nn.Module, *, change: Callable[[dict[str, Tensor]], object] | None = None) -> Path:
        state = trained(network).state_dict()
        if change is not None:
            change(state)
        torch.save(state, tmp_path / "latest_net_G.pth")
        return tmp_path / "latest_net_G.pth"

    return write


def picture(channels: int, size: int) -> Tensor:
    return torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(3)) * 2 - 1


NETWORKS = {
    "unet_256, ngf 4, 3 → 3 channels, batch norm": (lambda: Unet(8), 256),
    "unet_128, ngf 4, 1 → 2 channels, instance norm": (lambda: Unet(7, 1, 2, norm="instance"), 128),
    "unet_32, ngf 6, 3 → 3 channels, no norm": (lambda: Unet(5, ngf=6, norm="none"), 64),
    "unet_512, ngf 2, 3 → 3 channels, batch norm": (lambda: Unet(9, ngf=2, dropout=False), 512),
    "unet_64, ngf 4, 5 → 1 channels, instance norm with scale and shift": (
        lambda: Unet(6, 5, 1, norm="instance-affine"),
        64,
    ),
    "unet_128, ngf 4, 3 → 3 channels, instance norm": (lambda: Unet(7, norm="instance-old"), 128),
    "resnet_9blocks, ngf 4, 3 → 3 channels, batch norm, dropout": (lambda: Resnet(9), 64),
    "resnet_6blocks, ngf 4, 1 → 3 channels, instance norm, no dropout": (
        lambda: Resnet(6, 1, norm="instance", dropout=False),
        64,
    ),
    "resnet_6blocks, ngf 4, 3 → 3 channels, instance norm, dropout": (lambda: Resnet(6, norm="instance-old"), 64),
    "resnet_12blocks, ngf 2, 3 → 4 channels, no norm, no dropout": (
        lambda: Resnet(12, 3, 4, ngf=2, norm="none", dropout=False),
        32,
    ),
    "pix2pixHD global generator, 4 halvings, 3 blocks, ngf 4, 36 → 3 channels, instance norm": (
        lambda: global_generator(36),
        64,
    ),
    "pix2pixHD global generator, 3 halvings, 3 blocks, ngf 4, 3 → 3 channels, batch norm": (
        lambda: global_generator(norm="batch", downs=3),
        64,
    ),
    "pix2pixHD global generator, 2 halvings, 3 blocks, ngf 4, 3 → 3 channels, batch norm": (
        lambda: global_generator(norm="batch", downs=2),
        64,
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("recognised", NETWORKS)
def test_a_generator_of_the_references_is_recognised_and_gives_their_pictures(
    save: Callable[..., Path], recognised: str
) -> None:
    make, size = NETWORKS[recognised]
    network = make()
    source = load(save(network), ANYTHING)
    assert source.recognised.removeprefix(f"{PORT} ") == recognised
    given = picture(source.architecture.input_nc, size)
    statistics = "none" if source.architecture.norm == "none" else "image"
    expected = reference.translate(network, given)
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(as_reference(source.generator, statistics)(given), expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(freeze(source.generator, statistics)(given), expected, atol=5e-4, rtol=0)


@pytest.mark.parametrize("network", [lambda: Unet(5), lambda: Resnet(6), global_generator])
def test_a_generator_saved_from_data_parallel_is_the_same(
    save: Callable[..., Path], network: Callable[[], nn.Module]
) -> None:
    plain, parallel = load(save(network()), ANYTHING), load(save(nn.DataParallel(network())), ANYTHING)
    assert plain.recognised == parallel.recognised
    for name, tensor in parallel.generator.state_dict().items():
        assert torch.equal(tensor, plain.generator.state_dict()[name]), name


@torch.no_grad()
def test_running_statistics_are_those_of_the_checkpoint(save: Callable[..., Path]) -> None:
    network = Resnet(2, dropout=False)
    source = load(save(network), ANYTHING)
    given = picture(3, 32)
    assert source.gathered
    torch.testing.assert_close(source.generator(given), network.eval()(given), atol=2e-5, rtol=0)
    torch.testing.assert_close(freeze(source.generator, "running")(given), network(given), atol=1e-4, rtol=0)


def test_what_is_known_of_the_training_is_told(save: Callable[..., Path]) -> None:
    unet = load(save(Unet(7)), ANYTHING)
    assert (unet.origin, unet.height, unet.width, unet.scaling, unet.batch_size) == (PORT, 128, 128, "signed", None)
    assert (unet.architecture.use_dropout, unet.architecture.innermost_dropout) == (True, False)
    labels = load(save(global_generator(36)), ANYTHING)
    assert (labels.origin, labels.height, labels.width, labels.scaling) == ("pix2pixHD", 512, 1024, "unit")
    assert (labels.gathered, labels.architecture.use_dropout) == (False, False)
    assert load(save(global_generator(4)), ANYTHING).scaling == "signed"
    assert load(save(Resnet(6)), ANYTHING).height == 256


def test_dropout_of_the_unet_is_where_the_port_has_it(save: Callable[..., Path]) -> None:
    source = load(save(Unet(8)), ANYTHING)
    dropping = [name for name, block in source.generator.named_children() if getattr(block, "dropout", None)]
    assert dropping == ["up7", "up6", "up5"]
    assert not load(source.place, Wishes(dropout=False)).architecture.use_dropout


def test_a_resnet_that_may_be_either_is_the_ports_unless_wished(save: Callable[..., Path]) -> None:
    file = save(Resnet(6, norm="instance", dropout=False))
    assert load(file, ANYTHING).origin == PORT
    assert load(file, Wishes(netG="global")).origin == "pix2pixHD"


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_a_norm_that_leaves_no_tensors_may_be_wished(save: Callable[..., Path], norm: str) -> None:
    assert load(save(Unet(5, norm="instance")), Wishes(norm=norm)).architecture.norm == norm


def test_statistics_without_scales_are_those_of_old_instance_norms(save: Callable[..., Path]) -> None:
    file = save(Unet(5, norm="instance-old"))
    assert (load(file, ANYTHING).architecture.norm, load(file, ANYTHING).gathered) == ("instance", False)
    with pytest.raises(CheckpointError, match="instance norm by its tensors, not --norm none"):
        load(file, Wishes(norm="none"))


def test_batch_norms_without_a_count_are_read(save: Callable[..., Path]) -> None:
    def as_pytorch_0_3(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if name.endswith("num_batches_tracked")]:
            del state[name]

    assert load(save(Unet(5), change=as_pytorch_0_3), ANYTHING).gathered


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(netG="unet_128"), "netG unet_32, not unet_128"),
        (Wishes(netG="global"), "netG unet_32, not global"),
        (Wishes(ngf=64, input_nc=1), "ngf 4, not 64; input_nc 3, not 1"),
        (Wishes(output_nc=1), "output_nc 3, not 1"),
        (Wishes(norm="instance"), "batch norm by its tensors, not --norm instance"),
    ],
)
def test_a_wish_that_the_tensors_contradict_is_refused_with_both(
    save: Callable[..., Path], wishes: Wishes, expected: str
) -> None:
    with pytest.raises(CheckpointError, match=expected):
        load(save(Unet(5)), wishes)


def test_dropout_that_shows_cannot_be_wished_away(save: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match="dropout True, not False"):
        load(save(Resnet(6)), Wishes(dropout=False))
    with pytest.raises(OptionError, match="--weights ema"):
        load(save(Resnet(6)), Wishes(weights="ema"))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (reference.patchgan, "a PatchGAN discriminator"),
        (lambda: Resnet(0), "without residual blocks"),
        (lambda: Resnet(6, pad=False), "pad with zeros"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), r"2 tensors, 0\.weight \[2, 2\]"),
        (lambda: nn.ModuleDict({"model1_1": nn.Sequential(nn.Linear(2, 2))}), "local enhancer"),
        (lambda: nn.ModuleDict({"head_0": nn.ModuleDict({"conv_0": nn.Linear(2, 2)})}), "SPADE"),
        (lambda: nn.ModuleDict({"mapping": nn.Linear(2, 2)}), "StyleGAN"),
        (lambda: nn.ModuleDict({"scale0_layer0": nn.Sequential(nn.Linear(2, 2))}), "multi-scale discriminator"),
    ],
)
def test_other_networks_are_called_by_their_names(
    save: Callable[..., Path], network: Callable[[], nn.Module], expected: str
) -> None:
    with pytest.raises(CheckpointError, match=expected) as caught:
        load(save(network()), ANYTHING)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.pop("model.model.3.weight"), r"missing model\.model\.3\.weight"),
        (lambda state: state.pop("model.model.0.weight"), "is no generator that is known"),
        (lambda state: state.update(extra=torch.zeros(2)), "unexpected extra"),
        (lambda state: state["model.model.3.bias"].fill_(float("nan")), r"model\.model\.3\.bias holds NaN"),
        (
            lambda state: state.update({"model.model.1.model.2.weight": torch.zeros(3)}),
            r"model\.model\.1\.model\.2\.weight is \[3\] and should be \[8\]",
        ),
        (lambda state: state.update({"model.model.0.weight": torch.zeros(4)}), "four dimensions"),
        (lambda state: state.update({"model.model.0.weight": torch.zeros(10**6, 0, 4, 4)}), "input_nc is 0"),
    ],
)
def test_tensors_that_do_not_fit_are_listed_by_name(
    save: Callable[..., Path], change: Callable[[dict[str, Tensor]], object], expected: str
) -> None:
    with pytest.raises(CheckpointError, match=expected):
        load(save(Unet(5), change=change), ANYTHING)


def test_a_long_list_of_missing_tensors_is_shortened_and_counted(save: Callable[..., Path]) -> None:
    def halve(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if ".conv_block." in name and name.endswith(("weight", "running_var"))][4:]:
            del state[name]

    with pytest.raises(CheckpointError, match=r"missing model\.\d.*and \d+ more \(\d+ in all\)"):
        load(save(Resnet(9, dropout=False), change=lambda state: (halve(state), state.update(KEPT))), ANYTHING)


KEPT = {"model.18.conv_block.1.weight": torch.zeros(16, 16, 3, 3)}


def test_options_beside_the_file_tell_of_the_training(save: Callable[..., Path]) -> None:
    file = save(Unet(7))
    file.with_name("train_opt.txt").write_text(
        "----------------- Options ---------------\n"
        "               batch_size: 4                             \t[default: 1]\n"
        "                crop_size: 256                           \n"
        "                 dataroot: /home/me/datasets/facades     \t[default: None]\n"
        "                direction: BtoA                          \t[default: AtoB]\n"
        "               no_dropout: True                          \t[default: False]\n"
        "               preprocess: resize_and_crop               \n"
        "----------------- End -------------------\n"
    )
    source = load(file, ANYTHING)
    assert (source.batch_size, source.direction, source.height, source.data.name) == (4, "BtoA", 256, "facades")
    assert not source.architecture.use_dropout
    assert source.training["preprocess"] == "resize_and_crop"
    assert "/home/me" not in str(source.training)
    other = file.rename(file.with_name("latest_net_G_B.pth"))
    assert load(other, ANYTHING).direction == "AtoB"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\xff\xfe\x00 batch_size: many\n direction: up\ncrop_size: -3\nno_dropout: perhaps\n",
        b"batch_size: 0\ncrop_size: 200\npreprocess: crop\n",
        b"x: y\n" * 50_000,
    ],
)
def test_nonsense_for_options_is_as_good_as_none(save: Callable[..., Path], nonsense: bytes) -> None:
    file = save(Unet(7))
    file.with_name("train_opt.txt").write_bytes(nonsense)
    source = load(file, ANYTHING)
    assert (source.batch_size, source.direction, source.height) == (None, "AtoB", 128)
    assert source.architecture.use_dropout
