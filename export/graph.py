"""From PyTorch to an ONNX graph with readable names and nothing else in it."""

from __future__ import annotations

import ast
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import onnx
import onnx_ir
import torch

from export import noise
from export.errors import GraphInvalid
from export.translator import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from export.translator import Translator

INPUT = "image"
OUTPUT = "translation"
SEED = "seed"
OPSET = 18  # the smallest that torch's exporter writes without converting back; nothing here needs a later one

_LAYERS = {"Conv", "ConvTranspose", "InstanceNormalization"}


def to_onnx(translator: Translator) -> onnx.ModelProto:
    """Returns the graph of `image` [N, H, W, C_in] → `translation` [N, H, W, C_out], as the translator's specs say.

    N is free; H and W are too where `given` takes any size. A seeded translator's graph takes `seed`, int64 [N], after
    the pictures. Raises GraphInvalid where ONNX's own checker refuses the graph.
    """
    with _quiet():
        program = torch.onnx.export(
            translator.eval(),
            _example(translator),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT, SEED] if translator.seeded else [INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=_free_dimensions(translator),
            custom_translation_table=noise.TRANSLATIONS,
            verbose=False,
        )
    assert program is not None  # noqa: S101 (dynamo=True without a file always returns one)
    _name(program.model.graph)
    _name_sizes(program.model.graph, translator)
    _strip(program.model)
    model = onnx_ir.to_proto(program.model)
    check(model)
    return model


def _example(translator: Translator) -> tuple[torch.Tensor, ...]:
    """Returns pictures, and seeds, to trace with: nothing in them may be taken for a constant, as a single row is."""
    given = translator.given
    height, width = given.height, given.width
    if given.any_size:
        # Two sizes that differ, and neither so small that a bottleneck of 1 x 1 would be taken for granted.
        height = max(2 * given.multiple, given.smallest)
        width = height + given.multiple
    pictures = torch.zeros(2, height, width, given.channels, dtype=TYPES[given.dtype])
    return (pictures, torch.zeros(2, dtype=torch.int64)) if translator.seeded else (pictures,)


def _free_dimensions(translator: Translator) -> tuple[dict[int, object], ...]:
    rows = torch.export.Dim.AUTO
    sizes = {1: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO} if translator.given.any_size else {}
    image: dict[int, object] = {0: rows, **sizes}
    return (image, {0: rows}) if translator.seeded else (image,)


def _name_sizes(graph: onnx_ir.Graph, translator: Translator) -> None:
    """Gives the free dimensions of both sides the names N, H and W; what lies between is left to shape inference."""
    free = translator.given.any_size
    for value, spec in ((graph.inputs[0], translator.given), (graph.outputs[0], translator.made)):
        value.shape = onnx_ir.Shape(["N", *(["H", "W"] if free else [spec.height, spec.width]), spec.channels])
    for seed in graph.inputs[1:]:
        seed.shape = onnx_ir.Shape(["N"])


def check(model: onnx.ModelProto) -> None:
    """Raises GraphInvalid where ONNX refuses the graph, shapes and types included."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphInvalid(f"ONNX refuses the graph: {' '.join(str(error).split())[:300]}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks (a missing torchvision, its own deprecations) off the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _name(graph: onnx_ir.Graph) -> None:
    """Names nodes and weights after the modules they come from: down1/conv, down1.conv.weight."""
    taken: set[str] = set()
    for node in graph:
        node.name = _free(_place(node), taken)
        for index, value in enumerate(node.outputs):
            if value.name != OUTPUT:
                value.name = f"{node.name}/{index}" if index else node.name
    for weight in list(graph.initializers.values()):
        weight.name = str(weight.name).removeprefix("generator.")


def _place(node: onnx_ir.Node) -> str:
    """Returns the node's module as a path; what is no layer of its own is called by its operator there."""
    scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "['']"))
    module = scopes[-2] if len(scopes) > 1 else ""
    parts = [part for part in module.removeprefix("generator").split(".") if part]
    return "/".join(parts if node.op_type in _LAYERS and parts else [*parts, node.op_type])


def _free(name: str, taken: set[str]) -> str:
    """Returns the name, numbered from 2 where it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _strip(model: onnx_ir.Model) -> None:
    """Takes out the exporter's notes, which hold stack traces with the paths of this machine."""
    graph = model.graph
    graph.name = "translator"
    for item in (model, graph, *graph, *graph.inputs, *graph.initializers.values()):
        item.metadata_props.clear()
        item.doc_string = None
    for node in graph:
        for value in node.outputs:
            value.metadata_props.clear()
