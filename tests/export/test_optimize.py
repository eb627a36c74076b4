from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.errors import GraphInvalid
from export.optimize import clean, smallest_opset

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 3, 3, 3)).astype(np.float32)


def make(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], opset: int = 18, kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """A graph x [N, 3, H, W] → y of as many dimensions, every side of a size that is free."""
    sides = [helper.make_tensor_value_info(name, kind, ["N", 3, f"{name}H", f"{name}W"]) for name in "xy"]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def node(operator: str, inputs: str, output: str, name: str = "", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name or output, **attributes)


def operators(model: onnx.ModelProto) -> list[str]:
    return [each.op_type for each in model.graph.node]


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture
def cluttered() -> onnx.ModelProto:
    """Two convolutions with one kernel stored twice, among all that a graph can do without."""
    nodes = [
        node("Identity", "x", "same"),
        node("Cast", "same", "cast", to=TensorProto.FLOAT),
        node("Transpose", "cast", "last", perm=[0, 2, 3, 1]),
        node("Transpose", "last", "first", perm=[0, 3, 1, 2]),
        node("Conv", "first k1", "node_Conv_7", "down1/conv", pads=[1] * 4),
        node("Conv", "first k2", "val_3", "node_Conv_9", pads=[1] * 4),
        node("Mul", "half half", "quarter"),
        node("Mul", "node_Conv_7 quarter", "val_4", "node_Mul_1"),
        node("Add", "val_4 val_3", "y", "up1/Add"),
        node("Tanh", "val_3", "dead"),
    ]
    constants = {"k1": KERNEL, "k2": KERNEL.copy(), "half": np.float32(0.5), "unused": np.zeros((4, 4), np.float32)}
    return make(nodes, constants)


def test_what_a_graph_can_do_without_goes(cluttered: onnx.ModelProto) -> None:
    cleaned = clean(cluttered)
    assert sorted(operators(cleaned)) == ["Add", "Conv", "Mul"]
    assert len(cleaned.graph.initializer) == 2
    x = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(run(cleaned, x), run(cluttered, x))


def test_cleaning_again_changes_nothing(cluttered: onnx.ModelProto) -> None:
    once = clean(cluttered)
    assert clean(once).SerializeToString() == once.SerializeToString()


def test_the_graph_given_stays_as_it_is(cluttered: onnx.ModelProto) -> None:
    before = cluttered.SerializeToString()
    clean(cluttered)
    assert cluttered.SerializeToString() == before


def test_every_name_says_what_it_is(cluttered: onnx.ModelProto) -> None:
    graph = clean(cluttered).graph
    names = [each.name for each in graph.node]
    assert names == ["down1/conv", "down1/conv/Mul", "up1/Add"]
    assert {output for each in graph.node for output in each.output} == {"down1/conv", "down1/conv/Mul", "y"}


def test_generated_constants_are_called_by_their_use() -> None:
    crop = node("Slice", "x clone val_1 _tensor_constant0", "y", "up1/conv/Slice")
    constants = {"clone": np.array([1]), "val_1": np.array([-1]), "_tensor_constant0": np.array([2])}
    names = {weight.name for weight in clean(make([crop], constants)).graph.initializer}
    assert names == {"up1/conv/Slice.starts", "up1/conv/Slice.ends", "up1/conv/Slice.axes"}


def test_every_value_has_a_type_and_a_shape(cluttered: onnx.ModelProto) -> None:
    graph = clean(cluttered).graph
    known = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
    for each in graph.node:
        for output in each.output:
            assert known[output].elem_type == TensorProto.FLOAT
            assert len(known[output].shape.dim) == 4


def test_padding_becomes_part_of_its_convolution() -> None:
    nodes = [node("Pad", "x pads", "padded"), node("Conv", "padded k", "y", "up1/conv")]
    model = make(nodes, {"pads": np.array([0, 0, 0, 0, 0, 0, 1, 1]), "k": KERNEL[:, :, :2, :2]})
    cleaned = clean(model)
    assert [each.name for each in cleaned.graph.node] == ["up1/conv"]
    x = RNG.normal(size=(1, 3, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(run(cleaned, x), run(model, x), atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "constants", "opset"),
    [
        ([node("LeakyRelu", "x", "y", alpha=0.2)], {}, 13),
        ([node("Reshape", "x s", "y")], {"s": np.array([0, 3, 0, -1])}, 13),
        ([node("Reshape", "x s", "y", allowzero=1)], {"s": np.array([1, 3, -1, 1])}, 14),
        ([node("ReduceMean", "x a", "y", keepdims=1)], {"a": np.array([2, 3])}, 18),
        ([node("Pad", "x p c a", "y")], {"p": np.array([1, 1]), "c": np.float32(0), "a": np.array([3])}, 18),
    ],
    ids=["leaky ReLU", "reshape", "reshape to nothing", "axes as an input", "padding of some axes"],
)
def test_opset_is_the_oldest_that_means_the_same(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], opset: int
) -> None:
    model = make(nodes, constants)
    assert smallest_opset(model) == opset
    lowered = onnx.ModelProto()
    lowered.CopyFrom(model)
    lowered.opset_import[0].version = opset
    onnx.checker.check_model(lowered, full_check=True)
    x = RNG.normal(size=(1, 3, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(lowered, x), run(model, x))


def test_bfloat16_wants_the_opset_that_brought_it() -> None:
    assert smallest_opset(make([node("LeakyRelu", "x", "y")], {}, kind=TensorProto.BFLOAT16)) == 16


def test_ir_version_is_that_of_the_opset(cluttered: onnx.ModelProto) -> None:
    cleaned = clean(cluttered)
    assert (cleaned.opset_import[0].version, cleaned.ir_version) == (13, 7)


def test_stored_halves_stay_halves() -> None:
    nodes = [
        node("Cast", "k.fp16", "k", to=TensorProto.FLOAT),
        node("Conv", "x k", "y", "down1/conv", pads=[1] * 4),
    ]
    cleaned = clean(make(nodes, {"k.fp16": KERNEL.astype(np.float16)}))
    assert operators(cleaned) == ["Cast", "Conv"]
    assert [weight.data_type for weight in cleaned.graph.initializer] == [TensorProto.FLOAT16]


def test_quantised_weights_stay_bytes() -> None:
    nodes = [
        node("DequantizeLinear", "q s z", "k", axis=0),
        node("Conv", "x k", "y", "down1/conv", pads=[1] * 4),
    ]
    scales = {"s": np.full(3, 0.1, np.float32), "z": np.zeros(3, np.int8)}
    cleaned = clean(make(nodes, {"q": (KERNEL * 10).astype(np.int8), **scales}))
    assert operators(cleaned) == ["DequantizeLinear", "Conv"]


def test_a_shape_that_cannot_be_told_is_refused() -> None:
    foreign = helper.make_node("Guess", ["x", "_c"], ["guessed"], "down1/Guess", domain="elsewhere")
    model = make([foreign, node("Relu", "guessed", "y")], {"_c": np.float32(1)})
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    with pytest.raises(GraphInvalid, match="down1/Guess cannot be told"):
        clean(model)


def test_a_graph_that_onnx_refuses_is_refused() -> None:
    with pytest.raises(GraphInvalid, match="ONNX refuses the graph"):
        clean(make([node("Conv", "x k", "y")], {"k": KERNEL.astype(np.float64)}))
