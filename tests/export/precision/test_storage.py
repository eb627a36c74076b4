from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.errors import OptionError
from export.precision import store

if TYPE_CHECKING:
    from numpy.typing import NDArray


def convolution(kernel: NDArray[np.float32]) -> onnx.ModelProto:
    """Returns float x [N, 1, H, W] → y through one kernel and a bias."""
    bias = np.full(kernel.shape[0], 1 / 3, np.float32)
    node = helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], "conv")
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None, None, None]) for name in "xy"]
    weights = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph([node], "convolution", sides[:1], sides[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_halves_compute_in_fp32_what_the_rounded_kernel_computes() -> None:
    random = np.random.default_rng(0)
    kernel = random.normal(size=(64, 1, 4, 4)).astype(np.float32)
    x = random.normal(size=(2, 1, 9, 9)).astype(np.float32)
    stored = store(convolution(kernel), "fp16-weights")
    onnx.checker.check_model(stored, full_check=True)
    rounded = kernel.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(run(stored, x), run(convolution(rounded), x))


def test_halves_take_half_the_room() -> None:
    model = convolution(np.ones((512, 1, 8, 8), np.float32))
    assert store(model, "fp16-weights").ByteSize() < 0.55 * model.ByteSize()


def test_scales_and_biases_stay_whole() -> None:
    stored = store(convolution(np.ones((1, 1, 1, 1), np.float32)), "fp16-weights")
    kinds = {weight.name: weight.data_type for weight in stored.graph.initializer}
    assert kinds == {"kernel.fp16": TensorProto.FLOAT16, "bias": TensorProto.FLOAT}


def test_model_that_is_given_stays_as_it_is() -> None:
    model = convolution(np.ones((1, 1, 1, 1), np.float32))
    before = model.SerializeToString()
    assert store(model, "fp32").SerializeToString() == before
    store(model, "fp16-weights")
    assert model.SerializeToString() == before


def test_weight_beyond_a_half_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match="kernel holds 70000, beyond a half"):
        store(convolution(np.full((1, 1, 1, 1), -70000, np.float32)), "fp16-weights")
