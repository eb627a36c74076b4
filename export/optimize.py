"""Cleans a graph: nothing computed that is known, nothing stored twice, nothing unused, no later opset than it needs.

The passes are those of onnxscript and onnx-ir; what is written here are the names and the opset.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import onnx
import onnx_ir
from onnx import helper
from onnx_ir.passes import common
from onnxscript import optimizer

from export.errors import GraphInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

# From 13 on QuantizeLinear takes a scale for each channel, so every precision can be built on such a graph; servers
# that read only earlier ones are no longer kept. IR versions go with it.
OLDEST_OPSET = 13

# Casts of stored halves and the scales of quantised weights are what makes a file small: they are no constants to fold.
_STORAGE = {"Cast", "DequantizeLinear", "QuantizeLinear"}
# What torch's exporter and the passes call values that nobody named.
_NAMELESS = re.compile(r"(_|\d).*|(anonymous|clone|const|constant|lifted|node|scalar|sym|tensor|val)(_.*|\d*)")


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the graph that gives the same values without what it does not need; cleaning it again changes nothing.

    Constants are folded, but for stored halves and quantised weights; dead nodes, unused and equal initializers,
    identities, casts and transposes that cancel out are gone, padding is part of its convolution; operator set and IR
    version are the oldest that serve; every value's type and shape is known. Raises GraphInvalid where ONNX refuses the
    result, or a shape cannot be told.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # onnx-ir renames the tensors of the proto that it was given
    graph = onnx_ir.from_proto(copy)
    # Twice: what the second round of folding uncovers is what the hashed deduplication makes equal.
    for _ in range(2):
        optimizer.optimize_ir(graph, should_fold=_should_fold)
        common.DeduplicateHashedInitializersPass()(graph)
        common.CommonSubexpressionEliminationPass()(graph)
        common.IdentityEliminationPass()(graph)
        common.RemoveUnusedNodesPass()(graph)
    _name(graph.graph)
    common.TopologicalSortPass()(graph)
    for item in (*graph.graph, *graph.graph.all_nodes()):
        item.metadata_props.clear()
    return check(_lower(onnx_ir.to_proto(graph)))


def check(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with the shapes of all its values; raises GraphInvalid where ONNX refuses it or one is unknown.

    Shapes are inferred strictly, through the values of shape tensors too.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise GraphInvalid(f"ONNX refuses the graph: {' '.join(str(error).split())[:300]}") from error
    known = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output) if _has_shape(value)}
    unknown = [name for node in inferred.graph.node for name in node.output if name and name not in known]
    if unknown:
        raise GraphInvalid(f"the shape of {', '.join(unknown[:5])} cannot be told from the graph")
    return inferred


def smallest_opset(model: onnx.ModelProto) -> int:
    """Returns the oldest operator set, from 13 on, that means the same by every node of the model.

    An operator's older version serves where it has the same inputs and attributes and takes the types in use; what was
    added later and is not used (bfloat16 in LeakyRelu 16, allowzero in Reshape 14) does not count.
    """
    current = _opset(model)
    types = _types(model)
    return max((_since(node, current, types) for node in _nodes(model.graph) if not node.domain), default=OLDEST_OPSET)


def _should_fold(node: onnx_ir.Node) -> bool | None:
    return False if node.op_type in _STORAGE else None


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and tensor.elem_type != onnx.TensorProto.UNDEFINED


def _lower(model: onnx.ModelProto) -> onnx.ModelProto:
    """Declares the smallest opset that serves, and the IR version that came with it."""
    for opset in model.opset_import:
        if not opset.domain:
            opset.version = smallest_opset(model)
    model.ir_version = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    return model


def _opset(model: onnx.ModelProto) -> int:
    return next(opset.version for opset in model.opset_import if not opset.domain)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _types(model: onnx.ModelProto) -> dict[str, str]:
    """Returns the type of every tensor, spelled as in operator schemas: tensor(float)."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    elements = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    elements |= {value.name: value.type.tensor_type.elem_type for value in graph.output}
    elements |= {weight.name: weight.data_type for weight in graph.initializer}
    return {name: f"tensor({onnx.TensorProto.DataType.Name(kind).lower()})" for name, kind in elements.items()}


def _since(node: onnx.NodeProto, current: int, types: dict[str, str]) -> int:
    """Returns the oldest opset, from 13 on, whose version of the operator takes the node as it is."""
    newest = onnx.defs.get_schema(node.op_type, current)
    oldest = current
    for opset in range(current, OLDEST_OPSET - 1, -1):
        if not onnx.defs.has(node.op_type, max_inclusive_version=opset):
            break
        schema = onnx.defs.get_schema(node.op_type, opset)
        if not (_means_the_same(node, schema, newest) and _takes(node, schema, types)):
            break
        oldest = opset
    return oldest


def _means_the_same(node: onnx.NodeProto, schema: onnx.defs.OpSchema, newest: onnx.defs.OpSchema) -> bool:
    """Tells whether the node's inputs and attributes are in both versions, with the same defaults where unset."""
    given = {attribute.name for attribute in node.attribute}
    older, newer = schema.attributes, newest.attributes
    defaults = all(
        older[name].default_value == newer[name].default_value for name in older.keys() & newer.keys() - given
    )
    # An attribute that one version lacks and the node leaves out means nothing, if leaving it out is allowed in both.
    gone = [older[name] for name in older.keys() - newer.keys()]
    return (
        given <= older.keys()
        and defaults
        and not any(attribute.required or attribute.default_value.name for attribute in gone)
        and len(node.input) <= schema.max_input
        and [side.name for side in itertools.islice(schema.inputs, len(node.input))]
        == [side.name for side in itertools.islice(newest.inputs, len(node.input))]
    )


def _takes(node: onnx.NodeProto, schema: onnx.defs.OpSchema, types: dict[str, str]) -> bool:
    """Tells whether the version of the operator takes and gives tensors of the types in use."""
    sides = ((node.input, schema.inputs), (node.output, schema.outputs))
    return all(
        types.get(name, "") in (formal[min(place, len(formal) - 1)].types or {""}) or not name
        for names, formal in sides
        for place, name in enumerate(names)
    )


def _name(graph: onnx_ir.Graph) -> None:
    """Names what the passes made: nodes after their neighbours, values after their nodes, constants after their use."""
    taken = {str(node.name) for node in graph}
    for node in graph:
        if not node.name or _NAMELESS.fullmatch(node.name.rpartition("/")[2]):
            node.name = _free("/".join([*_scope(node), node.op_type]), taken)
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = f"{node.name}/{value.index()}" if value.index() else node.name
    taken = set(graph.initializers)
    for name, constant in list(graph.initializers.items()):
        if _NAMELESS.fullmatch(name):
            constant.name = _free(_role(constant), taken)


def _scope(node: onnx_ir.Node) -> list[str]:
    """Returns the module of the node before it, as a path; else of the one after it."""
    before = (value.producer() for value in node.inputs if value is not None)
    after = (use.node for value in node.outputs for use in value.uses())
    for other in (*before, *after):
        if other is not None and other.name and not _NAMELESS.fullmatch(other.name):
            return [part for part in other.name.split("/") if not part[0].isupper()]
    return []


def _role(constant: onnx_ir.Value) -> str:
    """Returns what a constant is to the first node that uses it: up1/conv/Slice.starts."""
    use = min(constant.uses(), key=lambda use: (str(use.node.name), use.idx))
    if not onnx.defs.has(use.node.op_type, domain=use.node.domain):
        return f"{use.node.name}.{use.idx}"
    formals = onnx.defs.get_schema(use.node.op_type, domain=use.node.domain).inputs
    return f"{use.node.name}.{formals[min(use.idx, len(formals) - 1)].name}"


def _free(name: str, taken: set[str]) -> str:
    """Returns the name, numbered from 2 where it is taken."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    free = next(
        candidate for candidate in (name, *itertools.islice(numbered, len(taken) + 1)) if candidate not in taken
    )
    taken.add(free)
    return free
