"""The files are made from an independent network, and translated by it: tests/export/reference_tensorflow.py."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from export.errors import CheckpointError, OptionError
from export.sources import pict
from export.sources.source import Source, Wishes
from export.statistics import freeze
from tests.export import reference_tensorflow as reference
from train.models import GeneratorConfig, size_multiple

ANYTHING = Wishes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edges2cats.pict"


def write(file: Path, drawn: dict[str, NDArray[np.float32]]) -> Path:
    file.write_bytes(reference.joined(*reference.sections(drawn)))
    return file


def refused(file: Path, *parts: bytes) -> str:
    file.write_bytes(reference.joined(*parts))
    with pytest.raises(CheckpointError) as caught:
        pict.load(file, ANYTHING)
    return str(caught.value)


@torch.no_grad()
def translated(source: Source, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    made = freeze(source.generator, "image")(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    return made.permute(0, 2, 3, 1).numpy()


def pictures(rows: int, size: int, channels: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, (rows, size, size, channels)).astype(np.float32)


@pytest.mark.parametrize("first", [False, True], ids=["names of today", "first names"])
@pytest.mark.parametrize(
    "expected",
    [
        GeneratorConfig(netG="unet_256", ngf=4),
        GeneratorConfig(netG="unet_128", ngf=4, input_nc=1, output_nc=2),
        GeneratorConfig(netG="unet_32", ngf=2, input_nc=4),
    ],
    ids=lambda config: config.netG,
)
def test_the_network_is_the_references(file: Path, expected: GeneratorConfig, first: bool) -> None:
    size = size_multiple(expected)
    drawn = reference.variables(size.bit_length() - 1, expected.ngf, expected.input_nc, expected.output_nc)
    drawn = reference.in_first_names(drawn) if first else drawn
    source = pict.load(write(file, drawn), ANYTHING)
    assert source.architecture == replace(expected, all_biases=not first, innermost_norm=True)
    assert (source.height, source.width, source.gathered) == (size, size, False)
    stored, _, _ = reference.quantised(drawn)
    rows = pictures(2, size, expected.input_nc)
    for row, picture in zip(translated(source, rows), rows, strict=True):
        np.testing.assert_allclose(row, reference.translate(stored, picture[None])[0], atol=1e-4)


def test_a_larger_picture_has_more_than_a_pixel_at_the_bottleneck(file: Path) -> None:
    drawn = reference.variables(depth=5)
    stored, _, _ = reference.quantised(drawn)
    picture = pictures(1, 64)
    made = translated(pict.load(write(file, drawn), ANYTHING), picture)
    np.testing.assert_allclose(made, reference.translate(stored, picture), atol=1e-4)


def test_the_references_size_is_recognised_to_the_parameter(file: Path) -> None:
    drawn = reference.variables(depth=8, ngf=64)
    source = pict.load(write(file, drawn), ANYTHING)
    assert sum(parameter.numel() for parameter in source.generator.parameters()) == 54_420_483
    assert source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert source.recognised == (
        "unet_256 of pix2pix-tensorflow, ngf 64, 3 → 3 channels, batch norm, also at the bottleneck"
    )


def test_running_statistics_and_what_the_optimiser_kept_are_left_out(file: Path) -> None:
    drawn = reference.variables(depth=5)
    scope = "generator/encoder_2"
    drawn[f"{scope}/batch_normalization/moving_mean"] = np.full(8, 9, np.float32)
    drawn[f"{scope}/conv2d/kernel/Adam"] = np.full(8, 9, np.float32)
    drawn["discriminator/layer_1/conv2d/kernel"] = np.full(8, 9, np.float32)
    assert pict.load(write(file, drawn), ANYTHING).architecture.netG == "unet_32"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"netG": "unet_256"}, "netG unet_32, not unet_256"),
        ({"norm": "instance"}, "norm batch, not instance"),
        ({"ngf": 64, "input_nc": 1}, "ngf 4, not 64; input_nc 3, not 1"),
    ],
)
def test_wish_that_the_variables_contradict_is_refused(file: Path, wish: dict[str, object], expected: str) -> None:
    write(file, reference.variables(depth=5))
    with pytest.raises(CheckpointError, match=expected):
        pict.load(file, Wishes(**wish))  # type: ignore[arg-type]


def test_wishes_that_the_variables_bear_out_are_granted(file: Path) -> None:
    write(file, reference.variables(depth=5))
    assert not pict.load(file, Wishes(netG="unet_32", norm="batch", ngf=4, dropout=False)).architecture.use_dropout
    with pytest.raises(OptionError, match="--weights ema"):
        pict.load(file, Wishes(weights="ema"))


def test_missing_unexpected_and_misshapen_variables_are_all_listed_by_name(file: Path) -> None:
    drawn = reference.variables(depth=5)
    del drawn["generator/encoder_5/conv2d/kernel"], drawn["generator/decoder_1/conv2d_transpose/bias"]
    drawn["generator/encoder_2/conv2d/gate"] = np.ones(3, np.float32)
    drawn["generator/decoder_4/batch_normalization/beta"] = np.ones(5, np.float32)
    with pytest.raises(CheckpointError) as caught:
        pict.load(write(file, drawn), ANYTHING)
    for expected in (
        "missing generator/encoder_5/conv2d/kernel",
        "missing generator/decoder_1/conv2d_transpose/bias",
        "unexpected generator/encoder_2/conv2d/gate",
        "generator/decoder_4/batch_normalization/beta is [5] and should be [16]",
    ):
        assert expected in str(caught.value)


def test_first_kernel_that_is_missing_is_listed_too(file: Path) -> None:
    drawn = reference.variables(depth=5)
    del drawn["generator/encoder_1/conv2d/kernel"]
    with pytest.raises(CheckpointError, match=r": missing generator/encoder_1/conv2d/kernel$"):
        pict.load(write(file, drawn), ANYTHING)


def test_separable_convolutions_are_called_by_their_name(file: Path) -> None:
    drawn = reference.variables(depth=5)
    drawn["generator/encoder_1/separable_conv2d/depthwise_kernel"] = np.ones((4, 4, 3, 1), np.float32)
    with pytest.raises(CheckpointError, match="trained with --separable_conv"):
        pict.load(write(file, drawn), ANYTHING)


def test_other_networks_are_told_by_what_they_have(file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no generator of pix2pix-tensorflow.*it has resnet/conv"):
        pict.load(write(file, {"resnet/conv": np.ones(3, np.float32)}), ANYTHING)


@pytest.mark.parametrize("layer", [1, 99])
def test_depth_that_no_generator_has_is_told(file: Path, layer: int) -> None:
    with pytest.raises(CheckpointError, match=f"has {layer} layers"):
        pict.load(
            write(file, {f"generator/encoder_{layer}/conv2d/kernel": np.ones((4, 4, 3, 4), np.float32)}), ANYTHING
        )


def test_width_that_would_take_all_memory_is_refused_before_it_is_taken(file: Path) -> None:
    drawn = {"generator/encoder_1/conv2d/kernel": np.ones((4, 4, 1, 4000), np.float32)}
    drawn["generator/encoder_8/conv2d/bias"] = np.ones(3, np.float32)
    with pytest.raises(CheckpointError, match="missing generator/encoder_2/conv2d/kernel"):
        pict.load(write(file, drawn), ANYTHING)
    drawn["generator/encoder_1/conv2d/kernel"] = np.ones((4, 4, 1, 5000), np.float32)
    with pytest.raises(CheckpointError, match="ngf 5000; at most 4096"):
        pict.load(write(file, drawn), ANYTHING)


def shapes(*items: object) -> bytes:
    return json.dumps(items).encode()


BOOK = np.linspace(-1, 1, 256, dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), "the length of its JSON is missing"),
        ((b"[]",), "the length of its codebook is missing"),
        ((b"[]", BOOK, b"", b""), "4 bytes follow its three sections"),
        ((b"{", BOOK, b"\0"), "first section is not JSON"),
        ((b"\xff", BOOK, b"\0"), "first section is not JSON"),
        ((b"[" * 100_000, BOOK, b"\0"), "first section is not JSON"),
        ((b" " * 2_000_000, BOOK, b"\0"), "its JSON takes 2000000 bytes"),
        ((b"{}", BOOK, b"\0"), "must be a list"),
        ((shapes("a"), BOOK, b"\0"), 'its JSON has "a"; wanted is'),
        ((shapes({"name": 3, "shape": [1]}), BOOK, b"\0"), "wanted is"),
        ((shapes({"name": "a", "shape": [-1]}), BOOK, b"\0"), "wanted are whole numbers from 1"),
        ((shapes({"name": "a", "shape": [True]}), BOOK, b"\0"), "wanted are whole numbers from 1"),
        ((shapes({"name": "a", "shape": [1.0]}), BOOK, b"\0"), "wanted are whole numbers from 1"),
        ((shapes({"name": "a", "shape": [1] * 99}), BOOK, b"\0"), "wanted are whole numbers from 1"),
        ((shapes({"name": "a", "shape": [2**30] * 4}), BOOK, b"\0"), "weights, and 1 follow"),
        ((shapes({"name": "a", "shape": [2]}), BOOK, b"\0"), "tells of 2 weights, and 1 follow"),
        ((shapes({"name": "a", "shape": [1]}, {"name": "a", "shape": [1]}), BOOK, b"\0\0"), "names a twice"),
        ((shapes({"name": "a", "shape": [1]}), BOOK[:-1], b"\0"), "codebook takes 1023 bytes"),
        ((shapes({"name": "a", "shape": [1]}), b"", b"\0"), "codebook takes 0 bytes"),
        ((shapes({"name": "a", "shape": [1]}), BOOK * 2, b"\0"), "codebook takes 2048 bytes"),
        ((shapes({"name": "a", "shape": [1]}), BOOK[:16], b"\4"), "place 4 in a codebook of 4"),
        ((shapes({"name": "a", "shape": [1]}), BOOK[:4] + b"\0\0\xc0\x7f", b"\0"), "1 values of its codebook are NaN"),
        ((shapes({"name": "\x1b[2J\n", "shape": [1]}), BOOK, b"\0"), r"it has \?\[2J\?"),
    ],
)
def test_file_that_is_no_pict_is_told_in_one_line(file: Path, parts: tuple[bytes, ...], expected: str) -> None:
    message = refused(file, *parts)
    assert expected.replace("\\", "") in message
    assert message.isprintable()
    assert str(file) in message


@pytest.mark.parametrize("kept", [0, 3, 4, 100, -1])
def test_file_cut_short_is_told(file: Path, kept: int) -> None:
    write(file, reference.variables(depth=5))
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="is cut short"):
        pict.load(file, ANYTHING)


def test_huge_file_is_not_read(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(2**31)
    with pytest.raises(CheckpointError, match="more than 1073741824 is not read"):
        pict.load(file, ANYTHING)


def test_file_that_is_not_there_is_told(file: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        pict.load(file, ANYTHING)


once = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@once
@given(content=st.binary(max_size=200))
def test_whatever_bytes_come_the_answer_is_an_error_of_ours(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        pict.load(file, ANYTHING)
    assert str(caught.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "shape"]), inner),
    max_leaves=12,
)


@once
@given(content=JSON, book=st.binary(max_size=16), weights=st.binary(max_size=16))
def test_whatever_the_sections_hold_the_answer_is_an_error_of_ours(
    file: Path, content: object, book: bytes, weights: bytes
) -> None:
    assert refused(file, json.dumps(content).encode(), book, weights).isprintable()


@once
@given(at=st.integers(0, 2**30), value=st.binary(min_size=1, max_size=8))
def test_damaged_file_is_a_generator_or_an_error_of_ours(file: Path, at: int, value: bytes) -> None:
    whole = reference.joined(*reference.sections(reference.variables(depth=5, ngf=1)))
    at %= 4000 if at % 2 else len(whole)  # half of the damage in the lengths and the JSON
    file.write_bytes(whole[:at] + value + whole[at + len(value) :])
    message = ""
    try:
        pict.load(file, ANYTHING)
    except CheckpointError as error:
        message = str(error)
    assert message.isprintable()
