"""A model's opset, brought into the range that TensorRT's parser reads and fp16 pairs need."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import version_converter

from edgeexit.errors import ModelError

OLDEST_STRONG_OPSET = 19
"""QuantizeLinear and DequantizeLinear take float16 scales since ONNX opset 19."""

NEWEST_STRONG_OPSET = 20
"""The last opset of TensorRT 10.0 to 10.7, which JetPack 6.1 and 6.2 hold (10.3).

onnx-tensorrt's ``docs/operators.md`` names opsets 9 to 20 from 10.0 on and still at 10.7 (cited in
NVIDIA/TensorRT issue 4336; that of 10.15 says 24).
"""

_LARGEST_INLINE = 1024
"""Bytes; the converter reads axes and the like, never weights, and would copy them."""


def convert_opset(model: ir.Model) -> None:
    """Bring a model to an opset from 19 to 20; names of inputs, exits and nodes stay.

    Args:
        model: Changed in place; a normalized model, without subgraphs. Its weights are not copied.

    Raises:
        ModelError: ONNX's converter cannot convert one of the nodes.
    """
    opset = model.graph.opset_imports.get("", 0)
    if OLDEST_STRONG_OPSET <= opset <= NEWEST_STRONG_OPSET:
        return
    wanted = OLDEST_STRONG_OPSET if opset < OLDEST_STRONG_OPSET else NEWEST_STRONG_OPSET
    weights = {name: value.const_value for name, value in model.graph.initializers.items()}
    try:
        proto = version_converter.convert_version(_without_weights(model), wanted)
    except Exception as error:
        raise ModelError(
            f"the model has ONNX opset {opset}, and ONNX's converter cannot bring it to {wanted}: "
            f"{str(error).splitlines()[0][:200]}.",
            hint=f"export it again with opset_version={NEWEST_STRONG_OPSET}: TensorRT 10.3 reads "
            f"no later one, and float16 scales need {OLDEST_STRONG_OPSET}.",
            code="model.opset",
        ) from error
    _take_over(model, ir.serde.deserialize_model(proto), weights)


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """Return the model with its large initializers declared as inputs."""
    proto = ir.serde.serialize_model(model)
    large = {
        name
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes > _LARGEST_INLINE
    }
    small = [tensor for tensor in proto.graph.initializer if tensor.name not in large]
    for tensor in proto.graph.initializer:
        if tensor.name in large:
            shape, kind = list(tensor.dims), tensor.data_type
            proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, kind, shape))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(small)
    return proto


def _take_over(
    model: ir.Model, converted: ir.Model, weights: dict[str, ir.TensorProtocol | None]
) -> None:
    """Replace the graph of a model by a converted one and give it the weights back."""
    graph = converted.graph
    for value in list(graph.inputs):
        if value.name in weights:
            graph.inputs.remove(value)
            value.const_value = weights[value.name]
            if value.name not in graph.initializers:
                graph.register_initializer(value)
    model.graph = graph
