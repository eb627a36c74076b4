from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
import torch

from export.errors import GraphInvalid
from export.graph import check, to_onnx
from export.metadata import PictureSpec
from export.statistics import freeze
from export.translator import Translator

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = PictureSpec.of(128, 128, 3)


@pytest.fixture(scope="module")
def graphs(make_generator: Callable[..., torch.nn.Module]) -> dict[str, onnx.ModelProto]:
    generator = make_generator()
    return {form: to_onnx(Translator(freeze(generator, form)), SPEC) for form in ("image", "running")}  # type: ignore[arg-type]


@pytest.fixture(params=["image", "running"])
def model(request: pytest.FixtureRequest, graphs: dict[str, onnx.ModelProto]) -> onnx.ModelProto:
    return graphs[request.param]


def test_sides_are_those_of_the_contract(model: onnx.ModelProto) -> None:
    for sides, name in ((model.graph.input, "image"), (model.graph.output, "translation")):
        (side,) = sides
        dims = side.type.tensor_type.shape.dim
        assert side.name == name
        assert side.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert dims[0].dim_param == "N"
        assert [dim.dim_value for dim in dims[1:]] == [128, 128, 3]


def test_neither_batch_norm_nor_dropout_is_left(model: onnx.ModelProto) -> None:
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"BatchNormalization", "Dropout", "Identity", "Constant"}
    assert not model.functions


def test_layers_bear_the_names_of_their_modules(graphs: dict[str, onnx.ModelProto]) -> None:
    nodes = {node.name: node.op_type for node in graphs["image"].graph.node}
    assert nodes["down1/conv"] == "Conv"
    assert nodes["down2/norm"] == "InstanceNormalization"
    assert nodes["up7/conv"] == "ConvTranspose"
    weights = {weight.name for weight in graphs["image"].graph.initializer}
    assert {"down1.conv.weight", "down2.norm.bias", "up1.conv.weight"} <= weights


def test_file_is_complete_and_says_nothing_of_this_machine(model: onnx.ModelProto) -> None:
    written = model.SerializeToString()
    assert not [weight for weight in model.graph.initializer if weight.data_location == onnx.TensorProto.EXTERNAL]
    assert str(Path(__file__).parents[2]).encode() not in written
    assert b"site-packages" not in written


def test_same_network_gives_the_same_bytes(
    make_generator: Callable[..., torch.nn.Module], graphs: dict[str, onnx.ModelProto]
) -> None:
    again = to_onnx(Translator(freeze(make_generator(), "running")), SPEC)
    assert again.SerializeToString() == graphs["running"].SerializeToString()


def test_graph_that_onnx_refuses_is_told(model: onnx.ModelProto) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    broken.graph.node[0].input[0] = "nothing"
    with pytest.raises(GraphInvalid, match="ONNX refuses the graph"):
        check(broken)


def test_rounding_is_to_the_nearest_level_and_halves_go_to_even() -> None:
    class Given(torch.nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return torch.tensor([-1.5, -1.0, 0.0, 0.5 / 127.5, 1.4 / 127.5, 1.0, 1.5]).reshape(1, 1, 1, 7)

    levels = Translator(Given())(torch.zeros(1, 1, 7, 1, dtype=torch.uint8))
    # 127.5 lies between two levels; 128 is the even one.
    assert levels.flatten().tolist() == [0, 0, 128, 128, 129, 255, 255]


def test_every_level_goes_through_unchanged() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(Translator(torch.nn.Identity())(ramp), ramp)
