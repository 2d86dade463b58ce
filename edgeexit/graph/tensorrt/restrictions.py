"""Attributes and forms of known operators that TensorRT's parser does not read."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeexit.graph.constants import contents
from edgeexit.graph.tensorrt.operators import Version

_Text = tuple[str, str]

_ALLOWED: dict[tuple[str, str], tuple[int | str, ...]] = {
    ("BatchNormalization", "training_mode"): (0,),
    ("Resize", "antialias"): (0,),
    ("Resize", "keep_aspect_ratio_policy"): ("stretch",),
    ("Resize", "coordinate_transformation_mode"): (
        *("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel"),
        "tf_half_pixel_for_nn",
    ),
    ("ScatterND", "reduction"): ("none",),
}
"""The values of attributes that are read; ONNX's default is among them."""

_POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})
_FIRST_OUTPUT_ONLY = frozenset({"BatchNormalization", "LayerNormalization", "MaxPool"})
_TEXT_ATTRIBUTES = frozenset({"sparse_value", "value_string", "value_strings"})

_MOST_OF_TOP_K = 3840
"""The largest K, from the notes on TopK in onnx-tensorrt's ``docs/operators.md``."""

_ELLIPSES: Version = (10, 12)
_GROUPS_OF_OPSET_21: Version = (10, 9)


def restrictions(node: ir.Node, version: Version, opset: int) -> Iterator[_Text]:
    """Yield a message and a remedy for each form of a node that the parser does not read.

    Args:
        node: A node whose operator the version knows.
        version: The TensorRT version.
        opset: The model's opset.
    """
    yield from _attribute_restrictions(node)
    yield from _version_restrictions(node, version, opset)
    yield from _port_restrictions(node)
    if node.op_type in _FIRST_OUTPUT_ONLY:
        extra = [output.name for output in node.outputs[1:] if output.name]
        if extra:
            yield (
                f"it names a further output, {extra[0]!r}; TensorRT gives the first one only.",
                "Remove the outputs that inference does not need.",
            )


def _attribute_restrictions(node: ir.Node) -> Iterator[_Text]:
    for name, attribute in node.attributes.items():
        allowed = _ALLOWED.get((node.op_type, name))
        if allowed is not None and attribute.value not in allowed:
            yield (
                f"its attribute {name} is {attribute.value!r}; TensorRT reads "
                f"{' or '.join(map(repr, allowed))}.",
                "Export it with that value, or write it with other operators.",
            )
        if node.op_type in _POOLS and name == "dilations":
            dilations = list(attribute.as_ints())
            if set(dilations) != {1}:
                yield (
                    f"its dilations are {dilations}; TensorRT pools without dilation.",
                    "Pool without dilation.",
                )
        if node.op_type == "Constant" and name in _TEXT_ATTRIBUTES:
            yield f"its {name} is no dense number.", "Keep text and sparse tensors out."


def _version_restrictions(node: ir.Node, version: Version, opset: int) -> Iterator[_Text]:
    if node.op_type == "Einsum" and version < _ELLIPSES:
        equation = node.attributes["equation"].as_string() if "equation" in node.attributes else ""
        if "..." in equation:
            yield (
                f"its equation {equation!r} has an ellipsis; TensorRT reads it from 10.12 on.",
                "Write the axes out, or use MatMul.",
            )
    if node.op_type == "GroupNormalization" and opset >= 21 and version < _GROUPS_OF_OPSET_21:
        yield (
            "it has a scale for each channel, as opset 21 says; TensorRT reads that from 10.9 on.",
            "Export it with opset 20.",
        )


def _port_restrictions(node: ir.Node) -> Iterator[_Text]:
    source = node.inputs[0] if node.inputs else None
    rank = len(source.shape) if source is not None and source.shape is not None else None
    if node.op_type in ("Conv", "ConvTranspose") and rank is not None and rank > 5:
        yield f"it convolves {rank - 2} axes; TensorRT 1 to 3.", "Join or unroll axes."
    if node.op_type == "TopK":
        count = contents(node, 1)
        if count is not None and int(count.ravel()[0]) > _MOST_OF_TOP_K:
            yield (
                f"its K is {int(count.ravel()[0])}; TensorRT gives {_MOST_OF_TOP_K} at most.",
                "Take fewer.",
            )
    if node.op_type == "Dropout":
        training = contents(node, 2)
        if training is not None and training.any():
            yield "it is in training mode.", "Export the model with model.eval()."
    if node.op_type == "Slice" and rank is not None:
        starts = contents(node, 1)
        axes = node.inputs[3] if len(node.inputs) > 3 else None
        if starts is not None and axes is None and starts.size != rank:
            yield (
                f"it has {starts.size} starts for {rank} axes and does not say which.",
                "Give it axes.",
            )
