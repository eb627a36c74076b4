"""What the passes over a graph share: finding their way along its values, and new nodes with free names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# They move values and leave them as they are; the first input is what moves.
MOVES = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Pad", "DepthToSpace", "Identity"}


class Wiring:
    """A graph under change. New nodes go to its end; `finish` sorts it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))
        self.graph = self.model.graph
        self._taken = {value.name for node in self.graph for value in node.outputs} | set(self.graph.initializers)

    def nodes(self, *kinds: str) -> list[ir.Node]:
        """Returns the nodes of these operators, in the graph's order."""
        return [node for node in self.graph if node.op_type in kinds and node.domain == ""]

    def add(self, kind: str, inputs: Sequence[ir.Value | None], name: str, **attributes: Any) -> ir.Value:  # noqa: ANN401 (what ONNX takes)
        """Returns the output of a new node; it is called after the node, which has the name or one near it."""
        free = self._free(name)
        node = ir.node(kind, inputs, attributes, name=free)
        node.outputs[0].name = free
        self.graph.append(node)
        return node.outputs[0]

    def constant(self, name: str, held: NDArray[Any] | np.generic) -> ir.Value:
        """Returns a new initializer."""
        values = np.asarray(held)
        value = ir.val(self._free(name), const_value=ir.tensor(values))
        value.const_value.name = value.name  # type: ignore[union-attr]
        value.shape = ir.Shape(values.shape)
        value.type = ir.TensorType(ir.DataType.from_numpy(values.dtype))
        self.graph.register_initializer(value)
        return value

    def finish(self) -> onnx.ModelProto:
        """Returns the graph with its nodes in order and nothing in it that leads nowhere.

        What earlier shape inference wrote is left out where types may have changed: whoever needs it infers again.
        """
        self.graph.sort()
        ir.passes.common.RemoveUnusedNodesPass()(self.model)
        model = ir.to_proto(self.model)
        del model.graph.value_info[:]
        inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(model, data_prop=True)
        return inferred

    def _free(self, name: str) -> str:
        candidate, number = name, 1
        while candidate in self._taken:
            number += 1
            candidate = f"{name}_{number}"
        self._taken.add(candidate)
        return candidate


def given(node: ir.Node, index: int = 0) -> ir.Value:
    """Returns an input that must be there."""
    value = node.inputs[index]
    assert value is not None  # noqa: S101 (ONNX's checker saw to it)
    return value


def made(node: ir.Node) -> ir.Value:
    """Returns the first output."""
    return node.outputs[0]


def takers(value: ir.Value) -> list[ir.Node]:
    """Returns the nodes that take the value, each once, in a fixed order."""
    return list(dict.fromkeys(usage.node for usage in value.uses()))


def rewire(value: ir.Value, node: ir.Node, to: ir.Value) -> None:
    """Makes `node` take `to` wherever it took `value`."""
    for index, taken in enumerate(node.inputs):
        if taken is value:
            node.replace_input_with(index, to)


def maker(value: ir.Value) -> str:
    """Returns the operator that made the value; "" for inputs and weights."""
    node = value.producer()
    return "" if node is None or node.domain else node.op_type


def numbers(value: ir.Value | None) -> NDArray[Any] | None:
    """Returns what a constant holds, or None for anything else."""
    if value is None or value.const_value is None or not (value.is_initializer() or maker(value) == "Constant"):
        return None
    return np.asarray(value.const_value.numpy())


def scalar(value: ir.Value | None) -> float | None:
    """Returns the one number that a constant holds, or None for anything else."""
    held = numbers(value)
    return float(held.reshape(())) if held is not None and held.size == 1 else None


def is_float(value: ir.Value | None) -> TypeGuard[ir.Value]:
    """Tells whether the value is fp32."""
    return value is not None and value.dtype == ir.DataType.FLOAT
