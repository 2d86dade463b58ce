"""Feature maps that cross a stage's edge as OpenVINO's convolutions hold them: channels last.

OpenVINO puts the inputs and outputs of a model in the order of their axes, ``(B, C, H, W)``, and
reorders what its convolutions read and write, with the channels last. With few channels that costs
more than the convolutions (OpenVINO 2026.4.1). A transposition beside the edge does away with it:
the plugin merges it with its own reordering, and nothing is moved at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13

from edgeexit.bundle.specs import TensorSpec

TO_LAST, FROM_LAST = (0, 2, 3, 1), (0, 3, 1, 2)

_WINDOWED = frozenset(
    ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MaxPool", "AvgPool")
)
_ELEMENTWISE = frozenset(
    (
        *("Add", "Subtract", "Multiply", "Divide", "Convert", "FakeQuantize", "BatchNormInference"),
        *("Relu", "PRelu", "Clamp", "Sigmoid", "HSigmoid", "Swish", "HSwish", "Gelu", "Elu"),
    )
)


def maps_of_convolutions(stages: Sequence[Path], maps: Sequence[TensorSpec]) -> frozenset[str]:
    """Return the names among ``maps`` that a convolution or pooling of a later stage reads.

    Args:
        stages: The stages' ONNX files.
        maps: Tensors of rank 4 with the samples along the first axis.
    """
    names = {spec.name for spec in maps}
    core, found = openvino.Core(), set()
    for file in stages:
        graph = core.read_model(file)
        for parameter in graph.get_parameters():
            read = names & parameter.output(0).get_names()
            if read and _reaches_windows(parameter):
                found |= read
    return frozenset(found)


def shape_channels_last(spec: TensorSpec) -> tuple[Any, ...]:
    """Return the shape of a feature map with the channels last."""
    return tuple(spec.shape[axis] for axis in TO_LAST)


def put_channels_last(graph: openvino.Model, names: frozenset[str]) -> None:
    """Let the inputs and outputs of these names have their channels last, in place."""
    for parameter in graph.get_parameters():
        if not names.isdisjoint(parameter.output(0).get_names()):
            _put_input_last(parameter)
    for result in graph.get_results():
        written = result.input(0).get_source_output()
        if not names.isdisjoint(written.get_names()):
            _put_output_last(result, written)
    graph.validate_nodes_and_infer_types()


def _put_input_last(parameter: Any) -> None:
    readers = list(parameter.output(0).get_target_inputs())
    shape = list(parameter.get_partial_shape())
    parameter.set_partial_shape(openvino.PartialShape([shape[axis] for axis in TO_LAST]))
    ordered = opset13.transpose(parameter, np.asarray(FROM_LAST))
    for reader in readers:
        reader.replace_source_output(ordered.output(0))


def _put_output_last(result: Any, written: Any) -> None:
    names = written.get_names()
    # After a convolution with a sum fused into it the plugin merges nothing. A pool of one cell
    # parts them and changes no bit; the average also hands on NaN, which the largest would not.
    if written.get_element_type().is_real():
        pooled = opset13.avg_pool(written, [1, 1], [0, 0], [0, 0], [1, 1], True)
    else:
        pooled = opset13.max_pool(written, [1, 1], [1, 1], [0, 0], [0, 0], [1, 1])
    ordered = opset13.transpose(pooled.output(0), np.asarray(TO_LAST)).output(0)
    written.set_names(set())
    ordered.set_names(names)
    result.input(0).replace_source_output(ordered)


def _reaches_windows(parameter: Any) -> bool:
    """Tell whether a convolution or pooling reads it, perhaps behind elementwise operations."""
    pending, seen = [parameter], set()
    while pending:
        for output in pending.pop().outputs():
            for reader in output.get_target_inputs():
                node = reader.get_node()
                kind = node.get_type_name()
                if kind in _WINDOWED:
                    return True
                if kind in _ELEMENTWISE and node.get_friendly_name() not in seen:
                    seen.add(node.get_friendly_name())
                    pending.append(node)
    return False
