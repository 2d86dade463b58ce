"""float32 becomes float16 in a graph, apart from given nodes; every cast is written out."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgeexit.graph.constants import add_constant
from edgeexit.graph.half.operators import PortTypes, half_ports
from edgeexit.graph.half.scales import holds_scale
from edgeexit.graph.origins import is_constant

_HALF, _FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT
_Q, _DQ = "QuantizeLinear", "DequantizeLinear"


def write_half_types(model: ir.Model, kept: Collection[ir.Node]) -> None:
    """Give every float32 value that need not be float32 the type float16, in place.

    1. Inputs of the model keep their type; outputs become float32 by a cast, under their names.
    2. A cast stands where the types of two nodes differ, once for all readers, and reads what an
       earlier cast read rather than that cast.
    3. No cast stands behind a DequantizeLinear: it is repeated with a scale of the other type.
       Nor before a QuantizeLinear: it reads the type that is there, unless float16 cannot
       hold its scale.
    4. Scales that float16 holds are rounded to it in both types, so the two halves of a pair agree.

    Args:
        model: Every value has a dtype; constants beyond float16 are read by kept nodes only.
        kept: Nodes that read and write float32.
    """
    _Rewriter(model, kept).run()


class _Rewriter:
    """Walks the graph in order; a value's dtype is the new one once its producer was visited."""

    def __init__(self, model: ir.Model, kept: Collection[ir.Node]) -> None:
        self._graph = model.graph
        opset = model.graph.opset_imports.get("", 0)
        self._nodes = list(model.graph)
        self._half = {
            node: PortTypes() if node in kept else half_ports(node, opset) for node in self._nodes
        }
        self._floats = {
            node: [p for p, v in enumerate(node.inputs) if v is not None and v.dtype == _FLOAT]
            for node in self._nodes
        }
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def run(self) -> None:
        for node in self._nodes:
            if node.op_type == _Q:
                self._set_quantizer(node)
            elif node.op_type == _DQ:
                self._set_dequantizer(node)
            else:
                self._set_node(node)
        for value in list(self._graph.outputs):
            if value.dtype == _HALF:
                self._cast_exit(value)
        self._remove_unused()

    def _set_node(self, node: ir.Node) -> None:
        ports = self._half[node]
        for port in self._floats[node]:
            self._convert(node, port, _HALF if port in ports.inputs else _FLOAT)
        for port in ports.outputs:
            node.outputs[port].dtype = _HALF
        if node.op_type == "Cast" and ports.outputs:
            node.attributes["to"] = ir.AttrInt64("to", int(_HALF))
        if node.op_type == "ConstantOfShape" and ports.outputs:
            fill = node.attributes.get("value")
            array = np.zeros(1, np.float32) if fill is None else fill.as_tensor().numpy()
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array.astype(np.float16)))

    def _set_quantizer(self, node: ir.Node) -> None:
        source = node.inputs[0]
        if source is None or 0 not in self._floats[node]:
            return
        constant = is_constant(source)
        dtype = _HALF if holds_scale(node) and (constant or source.dtype == _HALF) else _FLOAT
        self._convert(node, 0, dtype)
        self._set_scale(node, dtype)

    def _set_dequantizer(self, node: ir.Node) -> None:
        """Choose the type that most of its readers want; the others get a copy of it."""
        output = node.outputs[0]
        if output.dtype != _FLOAT:
            return
        wanted = [reader for reader, port in output.uses() if port in self._half[reader].inputs]
        dtype = _HALF if (wanted or not output.uses()) and holds_scale(node) else _FLOAT
        self._set_scale(node, dtype)
        output.dtype = dtype

    def _convert(self, node: ir.Node, port: int, dtype: ir.DataType) -> None:
        value = node.inputs[port]
        if value is not None:
            node.replace_input_with(port, self._as(value, dtype))

    def _as(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Return a value in a type, made once: a constant, a pair's second half, or a cast."""
        if value.dtype == dtype:
            return value
        key = (value, dtype)
        if key not in self._made:
            producer = value.producer()
            if is_constant(value):
                self._made[key] = self._constant(value)
            elif producer is not None and producer.op_type == _DQ:
                self._made[key] = self._repeat(producer, dtype)
            else:
                self._made[key] = self._cast(value, dtype)
        return self._made[key]

    def _constant(self, value: ir.Value) -> ir.Value:
        """Return a constant in float16."""
        assert value.const_value is not None
        return add_constant(
            self._graph, f"{value.name}.half", value.const_value.numpy().astype(np.float16)
        )

    def _repeat(self, node: ir.Node, dtype: ir.DataType) -> ir.Value:
        """Return the output of a DequantizeLinear of the same int8 tensor, in another type."""
        output, suffix = node.outputs[0], _suffix(dtype)
        copy = ir.node(_DQ, list(node.inputs), dict(node.attributes), name=f"{node.name}.{suffix}")
        copy.outputs[0].name = f"{output.name}.{suffix}"
        copy.outputs[0].shape, copy.outputs[0].type = output.shape, ir.TensorType(dtype)
        self._graph.insert_after(node, copy)
        self._set_scale(copy, dtype)
        return copy.outputs[0]

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        producer, source = value.producer(), value
        if producer is not None and producer.op_type == "Cast" and producer.inputs[0] is not None:
            source = producer.inputs[0]
            if source.dtype == dtype:
                return source
        name = f"{value.name}.{_suffix(dtype)}"
        cast = _new_cast(source, dtype, name, f"{name}.cast")
        if producer is None:
            self._graph.insert_before(self._graph[0], cast)
        else:
            self._graph.insert_after(producer, cast)
        return cast.outputs[0]

    def _set_scale(self, node: ir.Node, dtype: ir.DataType) -> None:
        scale = node.inputs[1]
        if scale is None or scale.const_value is None:
            self._convert(node, 1, dtype)
            return
        array = scale.const_value.numpy()
        key = (scale, dtype)
        if key not in self._made and holds_scale(node):
            rounded = array.astype(np.float16).astype(dtype.numpy())
            name = f"{scale.name}.{_suffix(dtype)}"
            self._made[key] = add_constant(self._graph, name, rounded)
        node.replace_input_with(1, self._made.get(key, scale))

    def _cast_exit(self, value: ir.Value) -> None:
        name = str(value.name)
        value.name = f"{name}.half"
        cast = _new_cast(value, _FLOAT, name, f"{name}.cast")
        producer = value.producer()
        assert producer is not None
        self._graph.insert_after(producer, cast)
        self._graph.outputs[self._graph.outputs.index(value)] = cast.outputs[0]

    def _remove_unused(self) -> None:
        """Drop casts that change nothing, repeated pairs' originals, and constants of old types."""
        for node in list(self._graph):
            output = node.outputs[0] if node.outputs else None
            source = node.inputs[0] if node.op_type == "Cast" else None
            if output is None or output.is_graph_output():
                continue
            if source is not None and source.dtype == output.dtype:
                output.replace_all_uses_with(source)
            if node.op_type in ("Cast", _DQ) and not output.uses():
                self._graph.remove(node, safe=True)
        for name, value in list(self._graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del self._graph.initializers[name]


def _suffix(dtype: ir.DataType) -> str:
    return "half" if dtype == _HALF else "float"


def _new_cast(source: ir.Value, dtype: ir.DataType, output: str, name: str) -> ir.Node:
    cast = ir.node("Cast", [source], {"to": int(dtype)}, name=name)
    cast.outputs[0].name = output
    cast.outputs[0].shape, cast.outputs[0].type = source.shape, ir.TensorType(dtype)
    return cast
