"""A model that gives back what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from pathlib import Path


def write_identity(path: Path, side: int) -> None:
    """Writes the model: uint8 [N, side, side, 3] to the same."""
    image, translation = (
        helper.make_tensor_value_info(name, TensorProto.UINT8, ("N", side, side, 3))
        for name in ("image", "translation")
    )
    node = helper.make_node("Identity", ["image"], ["translation"])
    graph = helper.make_graph([node], "identity", [image], [translation])
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
