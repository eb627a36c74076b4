"""Checkpoints of the reference implementations, from the file that they save to the pictures that come out.

What is expected is computed by the references' own networks, rebuilt in reference_torch.py and reference_tensorflow.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from export.model_file import read
from tests.export import reference_tensorflow, reference_torch
from tests.export.reference_torch import Resnet, Unet, global_generator, trained

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Pictures = NDArray[Any]


@pytest.fixture
def drawings(tmp_path: Path, drawn: Pictures) -> Path:
    folder = tmp_path / "drawings"
    folder.mkdir()
    for index, picture in enumerate(drawn):
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


def run(entry: Path, pictures: Pictures) -> Pictures:
    session = onnxruntime.InferenceSession(entry / "model.onnx", providers=["CPUExecutionProvider"])
    made: Pictures = session.run(["translation"], {"image": pictures})[0]
    return made


def levels(scaled: Pictures) -> Pictures:
    """Turns [-1, 1] into levels of 255."""
    return np.rint((scaled + 1) / 2 * 255)


def in_torch(network: torch.nn.Module, pictures: Pictures) -> Pictures:
    """What the reference makes of the pictures, one at a time."""
    rows = []
    for picture in pictures:
        real_A = torch.from_numpy(picture.transpose(2, 0, 1)[None] / 127.5 - 1).float()
        rows.append(levels(reference_torch.translate(network, real_A)[0].numpy().transpose(1, 2, 0)))
    return np.stack(rows)


NETWORKS = {
    "unet_128": lambda: Unet(7),
    "unet_128 instance": lambda: Unet(7, norm="instance-old", dropout=False),
    "resnet_6blocks": lambda: Resnet(6, norm="batch"),
    "pix2pixHD": lambda: global_generator(downs=3),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_reference_s_checkpoint_becomes_a_model_that_gives_its_pictures(
    exported: Callable[..., Path], tmp_path: Path, drawings: Path, drawn: Pictures, kind: str
) -> None:
    network = trained(NETWORKS[kind]())
    torch.save(torch.nn.DataParallel(network).state_dict(), tmp_path / "latest_net_G.pth")
    entry = exported(tmp_path / "latest_net_G.pth", pictures=drawings, size="128x128")
    expected = in_torch(network, drawn)
    assert expected.std() > 10
    assert np.abs(run(entry, drawn) - expected).max() <= 1
    metadata = read(entry / "model.onnx")
    assert (metadata.statistics, metadata.source.step, metadata.validation) == ("image", None, None)
    assert metadata.source.origin == ("pix2pixHD" if kind == "pix2pixHD" else "pytorch-CycleGAN-and-pix2pix")


def test_residual_generator_takes_any_multiple_of_four(
    exported: Callable[..., Path], tmp_path: Path, drawings: Path
) -> None:
    network = trained(Resnet(6, norm="instance"))
    torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
    entry = exported(tmp_path / "latest_net_G.pth", pictures=drawings)
    spec = read(entry / "model.onnx").input
    assert (spec.multiple, spec.smallest, spec.height) == (4, 8, 256)
    rng = np.random.default_rng(0)
    for height, width in ((128, 128), (100, 60), (8, 12), (64, 128)):
        # Not a part of a drawing: where a picture is flat, instance norm makes pictures of rounding errors.
        cut = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        assert np.abs(run(entry, cut) - in_torch(network, cut)).max() <= 1


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")  # skimage clips what is beyond its colours, and so do we
def test_colourisation_takes_and_gives_rgb(
    exported: Callable[..., Path], tmp_path: Path, drawings: Path, drawn: Pictures
) -> None:
    color = pytest.importorskip("skimage.color")
    network = trained(Unet(7, 1, 2))
    torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
    entry = exported(tmp_path / "latest_net_G.pth", pictures=drawings)
    expected = []
    for picture in drawn:
        lightness = color.rgb2lab(picture)[..., :1]
        real_A = torch.from_numpy((lightness / 50 - 1).transpose(2, 0, 1)[None]).float()
        ab = reference_torch.translate(network, real_A)[0].numpy().transpose(1, 2, 0) * 110
        expected.append(np.rint(color.lab2rgb(np.concatenate([lightness, ab], axis=2)) * 255))
    made = run(entry, drawn)
    assert made.shape == drawn.shape
    assert np.abs(made - np.stack(expected)).max() <= 2  # one of Lab, one of the network
    assert read(entry / "model.onnx").lab_colorization


def test_pict_file_becomes_a_model_that_gives_its_pictures(
    exported: Callable[..., Path], tmp_path: Path, drawings: Path, drawn: Pictures
) -> None:
    variables = reference_tensorflow.variables()
    (tmp_path / "cats.pict").write_bytes(reference_tensorflow.joined(*reference_tensorflow.sections(variables)))
    stored, *_ = reference_tensorflow.quantised(variables)
    entry = exported(tmp_path / "cats.pict", pictures=drawings)
    for picture, made in zip(drawn, run(entry, drawn), strict=True):
        expected = levels(reference_tensorflow.translate(stored, picture[None].astype(np.float32) / 127.5 - 1)[0])
        assert expected.std() > 10
        assert np.abs(made - expected).max() <= 1
    assert read(entry / "model.onnx").source.origin == "pix2pix-tensorflow"


def test_card_of_a_foreign_checkpoint_says_what_its_owner_states(
    lapis_export: Callable[..., Any], tmp_path: Path, drawings: Path
) -> None:
    torch.save(trained(Unet(7)).state_dict(), tmp_path / "latest_net_G.pth")
    entry = tmp_path / "models" / "facades" / "1"
    stated = ("--dataset", "CMP facades", "--licence", "CC BY 4.0", "--url", "https://example.org")
    ended = lapis_export(tmp_path / "latest_net_G.pth", "--output", entry, "--pictures", drawings, *stated)
    assert (ended.code, ended.err) == (0, "")
    assert "unet_128, ngf 4, 3 → 3 channels, batch norm" in ended.out
    card = (entry / "README.md").read_text()
    assert "[CMP facades](https://example.org)" in card
    assert "Licence: CC BY 4.0" in card
    assert "![Pictures that the model made: input, output](results.png)" in card
    assert Image.open(entry / "results.png").size > (256, 128)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.pop("model.model.3.weight"), "model.model.3.weight"),
        (lambda state: state["model.model.0.weight"].fill_(float("nan")), "NaN"),
        (lambda state: state.clear(), "latest_net_G.pth"),
    ],
)
def test_unusable_checkpoint_is_told_in_one_line_and_leaves_nothing(
    lapis_export: Callable[..., Any], tmp_path: Path, drawings: Path, change: Callable[[Any], object], expected: str
) -> None:
    state = trained(Unet(7)).state_dict()
    change(state)
    torch.save(state, tmp_path / "latest_net_G.pth")
    before = sorted(tmp_path.rglob("*"))
    output = tmp_path / "models" / "cats" / "1"
    ended = lapis_export(tmp_path / "latest_net_G.pth", "--output", output, "--pictures", drawings)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert expected in ended.err
    assert sorted(tmp_path.rglob("*")) == before
