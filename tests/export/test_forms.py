from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from export.errors import OptionError
from export.forms import choose, rewrite
from export.metadata import Decoder, Precision, Target

FORMS = ["subpixel", "phases"]
KERNELS = {"4x4 of U-Nets": (4, 0), "3x3 of residual generators": (3, 1)}


class Block(nn.Module):
    """A transposed convolution where a generator has it."""

    def __init__(
        self, kernel: int, output_padding: int, *, bias: bool = True, channels: tuple[int, int] = (3, 5)
    ) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(*channels, kernel, 2, 1, output_padding=output_padding, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KERNELS)
@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_form_gives_the_map_of_the_transposed_convolution(  # noqa: PLR0917
    form: str, kind: str, rows: int, size: tuple[int, int], channels: tuple[int, int], bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    block = Block(*KERNELS[kind], bias=bias, channels=channels)
    x = torch.randn(rows, channels[0], *size)
    with torch.no_grad():
        torch.testing.assert_close(rewrite(block, form)(x), block(x), rtol=1e-5, atol=1e-6)


def test_the_generator_given_stays_as_it_is() -> None:
    block = Block(4, 0)
    rewrite(block, "phases")
    assert isinstance(block.conv, nn.ConvTranspose2d)
    assert isinstance(rewrite(block, "transposed").conv, nn.ConvTranspose2d)


@pytest.mark.parametrize(
    "conv",
    [
        nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=2),
        nn.ConvTranspose2d(4, 4, 2, 2, 0),
        nn.ConvTranspose2d(4, 4, 3, 2, 1),
        nn.ConvTranspose2d(4, 4, (4, 3), 2, 1),
        nn.ConvTranspose2d(4, 4, 4, 2, 1, dilation=2),
    ],
    ids=["groups", "2x2", "odd size", "not square", "dilation"],
)
def test_other_transposed_convolutions_are_refused_by_name(conv: nn.ConvTranspose2d) -> None:
    with pytest.raises(OptionError, match=r"^up1\.conv is ConvTranspose2d"):
        rewrite(nn.ModuleDict({"up1": nn.ModuleDict({"conv": conv})}), "phases")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KERNELS)
def test_one_graph_serves_any_size_and_number_of_rows(form: str, kind: str, tmp_path: Path) -> None:
    block = Block(*KERNELS[kind])
    file = tmp_path / "form.onnx"
    free = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        rewrite(block, form).eval(),
        (torch.zeros(2, 3, 8, 6),),
        file,
        dynamo=True,
        opset_version=18,
        dynamic_shapes=({0: free, 2: free, 3: free},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 8, 6), (1, 3, 2, 2), (3, 3, 5, 16), (1, 3, 64, 32)):
        x = torch.randn(shape)
        (given_back,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(given_back, block(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_there_is_a_form_for_every_target_and_precision() -> None:
    for target in get_args(Target):
        assert {choose(target, precision) for precision in get_args(Precision)} <= set(get_args(Decoder))
        # An integer graph cannot be made of transposed convolutions.
        assert choose(target, "int8") != "transposed"
