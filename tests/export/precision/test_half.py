from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from export.errors import OptionError
from export.precision import bounds, check_halves, store

Graphs = Callable[..., onnx.ModelProto]
Run = Callable[..., NDArray[np.uint8]]
Pictures = NDArray[np.uint8]


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        weight.name: weight.data_type for weight in inferred.initializer
    }


@pytest.mark.parametrize("architecture", [{}, {"netG": "resnet_6blocks", "norm": "instance"}])
def test_convolutions_are_halves_and_norms_and_tanh_are_not(make_graph: Graphs, architecture: dict[str, str]) -> None:
    model = store(make_graph("transposed", "image", **architecture), "fp16")
    onnx.checker.check_model(model, full_check=True)
    kinds = types(model)
    wanted = {"Conv": TensorProto.FLOAT16, "ConvTranspose": TensorProto.FLOAT16, "Concat": TensorProto.FLOAT16}
    wanted |= {"LeakyRelu": TensorProto.FLOAT16, "InstanceNormalization": TensorProto.FLOAT, "Tanh": TensorProto.FLOAT}
    seen = set()
    for node in model.graph.node:
        if node.op_type in wanted:
            seen.add(node.op_type)
            assert {kinds[name] for name in node.input if name} == {wanted[node.op_type]}, node.name
    assert {"Conv", "ConvTranspose", "InstanceNormalization", "Tanh"} <= seen
    assert kinds["image"] == kinds["translation"] == TensorProto.UINT8


def test_graph_without_norms_is_cast_once_on_its_way_in_and_once_on_its_way_out(make_graph: Graphs) -> None:
    whole = make_graph("transposed")
    casts = [sum(node.op_type == "Cast" for node in model.graph.node) for model in (whole, store(whole, "fp16"))]
    assert casts == [2, 4]


@pytest.mark.parametrize("kind", ["running", "image"])
def test_pictures_stay_near_and_whole_batches_give_the_same_bits(
    make_graph: Graphs, run_graph: Run, drawn: Pictures, kind: str
) -> None:
    whole = make_graph("transposed", kind)
    model = store(whole, "fp16")
    found = run_graph(model, drawn)
    apart = np.abs(found.astype(int) - run_graph(whole, drawn))
    assert apart.max() <= bounds("fp16", None).largest
    assert apart.mean() <= bounds("fp16", None).mean
    np.testing.assert_array_equal(run_graph(model, drawn, 3), found)


def test_the_arithmetic_of_seeds_and_of_lab_is_left_alone(make_graph: Graphs, run_graph: Run, drawn: Pictures) -> None:
    seeds = np.arange(4)
    whole = make_graph("transposed", seeded=True)
    apart = np.abs(
        run_graph(store(whole, "fp16"), drawn, seeds=seeds).astype(int) - run_graph(whole, drawn, seeds=seeds)
    )
    assert apart.max() <= 4, "the same masks"
    lab = make_graph("transposed", lab=True, input_nc=1, output_nc=2)
    apart = np.abs(run_graph(store(lab, "fp16"), drawn).astype(int) - run_graph(lab, drawn))
    assert apart.max() <= 4


def test_weights_take_half_the_room(make_graph: Graphs) -> None:
    whole = make_graph("transposed", ngf=16)
    assert store(whole, "fp16").ByteSize() < 0.55 * whole.ByteSize()


def test_weight_beyond_a_half_is_refused_by_name(make_graph: Graphs) -> None:
    with pytest.raises(OptionError, match=r"--precision fp16: down3\.conv\.weight holds 70000"):
        store(_scaled(make_graph("transposed"), "down3.conv.weight", to=70000), "fp16")


def test_activation_beyond_a_half_is_refused_by_name(make_graph: Graphs, drawn: Pictures) -> None:
    whole = make_graph("transposed")
    check_halves(whole, drawn)
    with pytest.raises(OptionError, match=r"--precision fp16: down3/conv reaches"):
        check_halves(_scaled(whole, "down3.conv.weight", to=60000), drawn)


def _scaled(model: onnx.ModelProto, name: str, to: float) -> onnx.ModelProto:
    """Returns the model with one weight scaled until its largest value is `to`."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weight = next(held for held in changed.graph.initializer if held.name == name)
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array((values * (to / np.abs(values).max())).astype(np.float32), name))
    return changed
