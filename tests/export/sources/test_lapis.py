from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from export.errors import CheckpointError, OptionError
from export.metadata import Weights
from export.sources.loading import load as load_any
from export.sources.source import Source, Wishes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def load(place: Path, weights: Literal["auto"] | Weights = "auto", **wishes: object) -> Source:
    return load_any(place, Wishes(weights=weights, **wishes))  # type: ignore[arg-type]


@pytest.fixture
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint()


def change_weights(checkpoint: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = checkpoint / "generator.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_averaged_weights_are_taken_where_there_are_some(make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = make_checkpoint(ema=True)
    averaged, last = load(checkpoint), load(checkpoint, "generator")
    assert (averaged.weights, last.weights) == ("ema", "generator")
    assert averaged.sha256 == hashlib.sha256((checkpoint / "ema.safetensors").read_bytes()).hexdigest()
    assert not torch.equal(
        averaged.generator.state_dict()["down1.conv.weight"], last.generator.state_dict()["down1.conv.weight"]
    )


def test_last_weights_are_taken_where_none_are_averaged(checkpoint: Path) -> None:
    assert load(checkpoint).weights == "generator"
    with pytest.raises(OptionError, match="--weights ema"):
        load(checkpoint, "ema")


def test_lost_averaged_weights_are_not_replaced_in_silence(make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = make_checkpoint(ema=True)
    (checkpoint / "ema.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"ema\.safetensors is missing"):
        load(checkpoint)


def test_a_run_stands_for_its_latest_checkpoint(checkpoint: Path) -> None:
    (checkpoint.parent / "latest").symlink_to(checkpoint.name)
    assert load(checkpoint.parent, "auto").place == checkpoint


def test_metrics_may_lack_figures(checkpoint: Path, change_json: Callable[..., None]) -> None:
    change_json(checkpoint / "metrics.json", validation=None, baseline=None, training_seconds=None)
    assert load(checkpoint).validation is None


@pytest.mark.parametrize("name", ["metrics.json", "generator.safetensors"])
def test_missing_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "generator.safetensors"])
@pytest.mark.parametrize("kept", [0, 3, 100])
def test_file_cut_short_is_named(checkpoint: Path, name: str, kept: int) -> None:
    file = checkpoint / name
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=name) as caught:
        load(checkpoint)
    assert "\n" not in str(caught.value)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: there is no such file"):
        load(tmp_path / "nowhere", "auto")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": "lapis-checkpoint/9"}, "format is \"lapis-checkpoint/9\": .*'lapis-checkpoint/1'"),
        ({"step": None, "data.height": None}, r"step is missing; data\.height is missing"),
        ({"training.batch_size": "many"}, r'training\.batch_size is "many"'),
        ({"generator.netG": "resnet_99"}, "generator: netG is 'resnet_99'; known are"),
        ({"data.bits": 12}, r"data\.bits is 12"),
        ({"generator.attention": True}, "generator: unknown field attention"),
        ({"generator.ngf": 0}, "generator: ngf is 0"),
        ({"data.width": 200}, "128 x 200 pixels; unet_128 needs multiples of 128"),
        ({"data.height": 0}, "0 x 128 pixels"),
    ],
)
def test_unusable_configuration_is_told(
    checkpoint: Path, change_json: Callable[..., None], change: dict[str, object], expected: str
) -> None:
    change_json(checkpoint / "config.json", **change)
    with pytest.raises(CheckpointError, match=expected):
        load(checkpoint)


def test_weights_of_another_architecture_are_listed_by_name(checkpoint: Path, change_json: Callable[..., None]) -> None:
    change_json(checkpoint / "config.json", **{"generator.norm": "instance"})
    with pytest.raises(CheckpointError) as caught:
        load(checkpoint)
    assert "missing down1.conv.bias, down2.conv.bias" in str(caught.value)
    assert "unexpected down2.norm." in str(caught.value)


def test_weights_of_another_width_are_listed_with_both_shapes(
    checkpoint: Path, change_json: Callable[..., None]
) -> None:
    change_json(checkpoint / "config.json", **{"generator.ngf": 8})
    with pytest.raises(CheckpointError, match=r"down1\.conv\.weight is \[4, 3, 4, 4\] and should be \[8, 3, 4, 4\]"):
        load(checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_listed(checkpoint: Path, value: float) -> None:
    change_weights(checkpoint, lambda tensors: tensors["up3.conv.weight"].view(-1)[7:8].fill_(value))
    with pytest.raises(CheckpointError, match=r"up3\.conv\.weight holds NaN or infinity"):
        load(checkpoint)


def test_folder_without_a_checkpoint_is_told_what_would_be_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no checkpoint; wanted is .*latest_net_G\.pth"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"netG": "unet_256"}, "netG unet_128, not unet_256"),
        ({"ngf": 64, "dropout": False}, "ngf 4, not 64; use_dropout"),
    ],
)
def test_a_checkpoint_is_what_it_says_it_is(checkpoint: Path, wishes: dict[str, object], expected: str) -> None:
    assert load(checkpoint, ngf=4, netG="unet_128").architecture.ngf == 4
    with pytest.raises(CheckpointError, match=expected):
        load(checkpoint, **wishes)


def test_direction_and_bits_are_those_of_the_training(checkpoint: Path, change_json: Callable[..., None]) -> None:
    assert (load(checkpoint).direction, load(checkpoint).dtype) == ("AtoB", "uint8")
    change_json(checkpoint / "config.json", **{"data.direction": "BtoA", "data.bits": 16})
    assert (load(checkpoint).direction, load(checkpoint).dtype) == ("BtoA", "uint16")
