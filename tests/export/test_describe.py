from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from export.metadata import Metadata
from export.model_file import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDE = {"height": 256, "width": 512, "channels": 3, "colour": "rgb"}
METADATA = {
    "name": "edges2emoji",
    "version": "12",
    "input": SIDE | {"channels": 1, "colour": "grey"},
    "output": SIDE,
    "statistics": "image",
    "precision": "fp16-weights",
    "weights": "ema",
    "generator": {"netG": "unet_256", "ngf": 32},
    "source": {"checkpoint_sha256": "ab" * 32, "step": 1200},
    "data": {
        "name": "openmoji",
        "licence": "CC BY-SA 4.0",
        "attribution": "All emojis designed by OpenMoji",
        "url": "https://openmoji.org",
        "train_pairs": 1892,
        "validation_pairs": 100,
    },
    "validation": {"l1": 0.05, "psnr": 18.2, "ssim": 0.71, "pairs": 100},
    "baseline": None,
    "parity": {"pictures": 8, "max_difference": 1, "mean_difference": 0.001, "provider": "CPUExecutionProvider"},
    "batch_invariance": {"batch_sizes": [1, 2, 3, 8], "max_difference": 0},
    "lapis_version": "0.1.0",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    content = onnx.ModelProto()
    attach(content, Metadata.model_validate(METADATA))
    onnx.save(content, path)
    return path


def test_table_has_a_line_for_each_thing_worth_knowing(model: Path, lapis_export: Callable[..., Any]) -> None:
    ended = lapis_export("--describe", model)
    assert (ended.code, ended.err) == (0, "")
    table = dict(line.split("  ", maxsplit=1) for line in ended.out.splitlines())
    table = {name: value.strip() for name, value in table.items()}
    assert table["model"] == "edges2emoji, version 12"
    assert table["input"] == "256 x 512 only (height x width in pixels), 1 channel (grey), uint8"
    assert table["weights"] == "ema, fp16-weights"
    assert table["validation"] == "L1 0.0500, PSNR 18.20 dB, SSIM 0.710 over 100 held-out pairs"
    assert table["baseline"] == "not measured"
    assert table["batches"] == "0 levels between batches of 1, 2, 3, 8"
    assert table["fingerprint"] == "none"


def told_of(model: Path, lapis_export: Callable[..., Any], **changes: object) -> dict[str, str]:
    """Returns the table of a model whose metadata is changed."""
    content = onnx.load(model)
    attach(content, Metadata.model_validate(METADATA | changes))
    onnx.save(content, model)
    lines = [
        line.split("  ", maxsplit=1) for line in lapis_export("--describe", model).out.splitlines() if line[0] != " "
    ]
    return {name: value.strip() for name, value in lines}


def test_free_sizes_noise_bits_and_colours_are_told(model: Path, lapis_export: Callable[..., Any]) -> None:
    side = SIDE | {"dtype": "uint16", "multiple": 256, "smallest": 256, "height": 256, "width": 256}
    table = told_of(model, lapis_export, input=side, noise="seeded", lab_colorization=True, direction="BtoA")
    assert table["input"] == (
        "any multiples of 256 from 256; made for 256 x 256 (height x width in pixels), 3 channels (rgb), uint16"
    )
    assert table["samples"] == (
        "scaled to -1 to 1 in the graph; takes L and gives a and b, converted from and to RGB in the graph"
    )
    assert table["noise"].startswith("seeded: the same picture and seed")
    assert table["direction"] == "BtoA"


def test_graph_precision_and_proof_are_told(model: Path, lapis_export: Callable[..., Any]) -> None:
    table = told_of(
        model,
        lapis_export,
        precision="int8",
        graph={"optimized_for": "cpu", "decoder": "phases", "opset": 21},
        parity=METADATA["parity"] | {"max_difference": 12.5, "psnr": 46.13},
    )
    assert table["weights"] == "ema, int8"
    assert table["graph"] == "opset 21, made for cpu, decoder phases"
    assert table["parity"].startswith(
        "at most 12.5 of 255 levels from PyTorch, 0.001 on average, PSNR 46.13 dB, over 8"
    )


def test_choice_between_statistics_is_told_with_both_figures(model: Path, lapis_export: Callable[..., Any]) -> None:
    found = {"l1": 0.05, "psnr": 18.2, "ssim": 0.71, "pairs": 100}
    choice = {"reason": "measured", "image": found, "running": found | {"l1": 0.06}}
    content = onnx.load(model)
    attach(content, Metadata.model_validate(METADATA | {"statistics_choice": choice}))
    onnx.save(content, model)
    lines = lapis_export("--describe", model).out.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("statistics"))
    assert lines[at].endswith("image (measured)")
    assert "L1 0.0500" in lines[at + 1]
    assert "L1 0.0600" in lines[at + 2]


def test_what_nobody_stated_is_told_as_such(model: Path, lapis_export: Callable[..., Any]) -> None:
    table = told_of(
        model, lapis_export, data={}, source={"checkpoint_sha256": "ab", "step": None, "origin": "pix2pixHD"}
    )
    assert (table["data"], table["licence"], table["graph"]) == ("not stated", "not stated", "not stated")
    assert table["checkpoint"] == "pix2pixHD, SHA-256 ab"


def test_json_is_what_the_file_holds(model: Path, lapis_export: Callable[..., Any]) -> None:
    ended = lapis_export("--describe", model, "--json")
    (held,) = onnx.load(model).metadata_props
    assert json.loads(ended.out) == json.loads(held.value)


def test_pictures_are_told_by_their_sizes(model: Path, lapis_export: Callable[..., Any]) -> None:
    picture = base64.b64encode(b"x" * 4321).decode()
    fingerprint = {"input": picture, "translation": picture[:4], "every": 3, "max_difference": 2}
    content = onnx.load(model)
    attach(content, Metadata.model_validate(METADATA | {"fingerprint": fingerprint}))
    onnx.save(content, model)
    assert (
        "a picture (4,321 bytes) and its translation (3 bytes), one of 3 rows and columns; "
        "accepted on a CPU: 2 of 255 levels off\n"
    ) in lapis_export("--describe", model).out
    told = json.loads(lapis_export("--describe", model, "--json").out)
    assert told["fingerprint"] == fingerprint | {"input": "PNG, 4,321 bytes", "translation": "PNG, 3 bytes"}


def test_description_replaces_an_older_one_and_leaves_others(model: Path) -> None:
    content = onnx.load(model)
    content.metadata_props.add(key="author", value="someone")
    attach(content, Metadata.model_validate(METADATA | {"version": "13"}))
    held = {entry.key: entry.value for entry in content.metadata_props}
    assert len(content.metadata_props) == 2
    assert held["author"] == "someone"
    assert json.loads(held["lapis"])["version"] == "13"


def test_description_of_a_later_lapis_is_read(model: Path, lapis_export: Callable[..., Any]) -> None:
    content = onnx.load(model)
    content.metadata_props[0].value = json.dumps(json.loads(content.metadata_props[0].value) | {"new": {"field": 1}})
    onnx.save(content, model)
    assert lapis_export("--describe", model).code == 0


def spoil(model: Path, how: str) -> None:
    content = onnx.load(model)
    if how == "not ONNX":
        model.write_bytes(b"\x89PNG\r\n" * 40)
    elif how == "missing":
        model.unlink()
    elif how == "none":
        del content.metadata_props[:]
        onnx.save(content, model)
    else:
        content.metadata_props[0].value = how
        onnx.save(content, model)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("missing", "No such file or directory"),
        ("not ONNX", "is not an ONNX file"),
        ("none", "carries no 'lapis' metadata"),
        ("{", "Invalid JSON"),
        ('{"format": "lapis-model/9"}', "metadata format"),
    ],
)
def test_file_without_a_description_is_told_in_one_line(
    model: Path, lapis_export: Callable[..., Any], how: str, expected: str
) -> None:
    spoil(model, how)
    ended = lapis_export("--describe", model)
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert str(model) in ended.err
    assert expected in ended.err
