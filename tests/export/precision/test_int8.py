from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from export.errors import OptionError
from export.precision import bounds, quantize

Graphs = Callable[..., onnx.ModelProto]
Run = Callable[..., NDArray[np.uint8]]
Look = Callable[[onnx.ModelProto], onnx.GraphProto]
Pictures = NDArray[np.uint8]

MOVES = {"Transpose", "Reshape", "Squeeze", "Slice", "Pad"}


def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[int, float, float]:
    """Returns the largest and the mean difference and the PSNR."""
    apart = np.abs(a.astype(np.int64) - b.astype(np.int64))
    return int(apart.max()), float(apart.mean()), float(10 * np.log10(255**2 / max(np.mean(apart**2.0), 1e-9)))


def makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.node for name in node.output}


def test_every_convolution_stands_between_bytes_with_a_scale_for_each_channel(
    make_graph: Graphs, drawn: Pictures
) -> None:
    model = quantize(make_graph("phases"), drawn)
    onnx.checker.check_model(model, full_check=True)
    made, weights = makers(model.graph), {held.name: held for held in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 14
    for node in convolutions:
        assert made[node.input[0]].op_type == "DequantizeLinear"
        kernel = made[node.input[1]]
        assert kernel.op_type == "DequantizeLinear"
        held, scales = (numpy_helper.to_array(weights[name]) for name in kernel.input[:2])
        assert held.dtype == np.int8
        assert scales.shape == held.shape[:1]


def test_onnx_runtime_computes_the_whole_network_in_bytes(make_graph: Graphs, drawn: Pictures, optimised: Look) -> None:
    run = Counter(node.op_type for node in optimised(quantize(make_graph("phases"), drawn)).node)
    assert run["QLinearConv"] == 14
    assert not {"Conv", "FusedConv", "QuantizeLinear", "DequantizeLinear", "Cast", "Tanh", "LeakyRelu", "Relu"} & set(
        run
    )


@pytest.mark.parametrize(
    ("architecture", "convolutions"),
    [
        ({"kind": "image"}, 14),
        ({"kind": "image", "netG": "resnet_6blocks", "norm": "instance"}, 18),
        ({"netG": "resnet_6blocks"}, 18),
    ],
)
def test_no_convolution_of_other_networks_is_left_in_floats(
    make_graph: Graphs, drawn: Pictures, optimised: Look, architecture: dict[str, str], convolutions: int
) -> None:
    run = Counter(node.op_type for node in optimised(quantize(make_graph("phases", **architecture), drawn)).node)
    assert run["QLinearConv"] == convolutions
    assert not {"Conv", "FusedConv"} & set(run)


@pytest.mark.parametrize(("kind", "least"), [("running", 42), ("image", 38)])
def test_pictures_stay_near_and_whole_batches_give_the_same_bits(
    make_graph: Graphs, run_graph: Run, drawn: Pictures, kind: str, least: float
) -> None:
    model = quantize(make_graph("phases", kind), drawn)
    found = run_graph(model, drawn)
    largest, mean, psnr = distance(found, run_graph(make_graph("transposed", kind), drawn))
    wanted = bounds("int8", None)
    assert largest <= wanted.largest
    assert mean <= wanted.mean
    assert psnr > least
    for rows in (3, 4):
        np.testing.assert_array_equal(run_graph(model, drawn, rows), found)


def test_picture_goes_in_and_out_as_it_is(make_graph: Graphs, drawn: Pictures) -> None:
    model = quantize(make_graph("phases"), drawn)
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert kinds == {"image": onnx.TensorProto.UINT8, "translation": onnx.TensorProto.UINT8}
    made = makers(model.graph)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    dequantised = made[first.input[0]]
    assert made[dequantised.input[0]].input[0] == "image", "the samples themselves, moved but never turned to floats"


def test_seeds_go_into_the_calibration_and_steer_the_result(
    make_graph: Graphs, run_graph: Run, drawn: Pictures
) -> None:
    seeds = np.array([3, 1, 2**40, -5])
    model = quantize(make_graph("phases", seeded=True), drawn, seeds)
    found = run_graph(model, drawn, seeds=seeds)
    expected = run_graph(make_graph("transposed", seeded=True), drawn, seeds=seeds)
    assert distance(found, expected)[2] > 40
    assert (run_graph(model, drawn, seeds=seeds + 1) != found).any()
    np.testing.assert_array_equal(run_graph(model, drawn, 4, seeds), found)


def test_sizes_stay_free(make_graph: Graphs, run_graph: Run, drawn: Pictures) -> None:
    wide = np.concatenate([drawn[:2], drawn[2:]], axis=2)
    model = quantize(make_graph("phases", multiple=128), drawn)
    assert distance(run_graph(model, wide), run_graph(make_graph("transposed", multiple=128), wide))[2] > 38


def test_lab_around_the_network_stays_exact_enough(make_graph: Graphs, run_graph: Run, drawn: Pictures) -> None:
    options = {"lab": True, "input_nc": 1, "output_nc": 2}
    model = quantize(make_graph("phases", **options), drawn)
    assert distance(run_graph(model, drawn), run_graph(make_graph("transposed", **options), drawn))[2] > 38


def test_weights_take_a_quarter_of_the_room(make_graph: Graphs, drawn: Pictures) -> None:
    model = make_graph("phases", ngf=16)
    assert quantize(model, drawn).ByteSize() < 0.3 * model.ByteSize()


def test_model_that_is_given_stays_as_it_is(make_graph: Graphs, drawn: Pictures) -> None:
    model = make_graph("phases")
    before = model.SerializeToString()
    quantize(model, drawn[:1])
    assert model.SerializeToString() == before


def test_what_has_no_integer_form_is_refused(make_graph: Graphs, drawn: Pictures) -> None:
    with pytest.raises(OptionError, match="transposed convolutions have no integer form"):
        quantize(make_graph("transposed"), drawn)
    with pytest.raises(OptionError, match="no pictures to measure ranges on"):
        quantize(make_graph("phases"), drawn[:0])
    with pytest.raises(OptionError, match="samples of 16 bits"):
        quantize(make_graph("phases", dtype="uint16"), drawn.astype(np.uint16) * 257)
