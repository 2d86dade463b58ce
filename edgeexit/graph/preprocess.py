"""Preprocessing as the first nodes of the graph, so that no app can get it wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeexit.bundle.specs import Preprocessing
from edgeexit.errors import InputError, ModelError
from edgeexit.graph.constants import add_constant
from edgeexit.graph.shapes import infer_shapes

_RESIZE_AXES_OPSET = 18
"""Resize names its axes since opset 18; before, it needs the batch size as a number."""


def bake_preprocessing(model: ir.Model, preprocessing: Preprocessing) -> None:
    """Put preprocessing in front of a model's image input.

    The new input is ``(batch, height, width, channels) uint8``, named as
    ``preprocessing.input``. Behind it: resize to ``preprocessing.size`` (bilinear, pixel centres
    at half, no antialiasing) where a size is given, times ``scale``, minus ``mean``, over ``std``,
    to ``(batch, channels, height, width)`` in the type of the model's own input. With a size, the
    height and width of the new input are dynamic: ``height`` and ``width``.

    Args:
        model: Changed in place; its image input is ``(batch, channels, height, width)``.
        preprocessing: What to put in front.

    Raises:
        ModelError: The model has no such input, or one of another rank or opset.
        InputError: Sizes or channels do not fit the model's input, or a standard deviation is 0.
    """
    image = _image_input(model.graph, preprocessing.input)
    raw_shape = _raw_shape(image, preprocessing, model.graph.opset_imports.get("", 0))
    raw = ir.Value(
        name=preprocessing.input, shape=ir.Shape(raw_shape), type=ir.TensorType(ir.DataType.UINT8)
    )
    position = model.graph.inputs.index(image)
    model.graph.inputs[position] = raw
    if image.name == raw.name:
        image.name = f"{raw.name}.normalized"
    chain = _Chain(model.graph, raw)
    chain.add("Cast", to=ir.DataType.FLOAT)
    chain.add("Transpose", perm=[0, 3, 1, 2])
    if preprocessing.size is not None:
        chain.resize(preprocessing.size)
    chain.add("Mul", np.array(preprocessing.scale, dtype=np.float32))
    chain.add("Sub", _per_channel(preprocessing.mean))
    chain.add("Div", _per_channel(preprocessing.std))
    if image.dtype not in (None, ir.DataType.FLOAT):
        chain.add("Cast", to=image.dtype)
    chain.finish(image)
    infer_shapes(model)


def _image_input(graph: ir.Graph, name: str) -> ir.Value:
    """Return the model's input of that name, or its only one."""
    named = [value for value in graph.inputs if value.name == name]
    candidates = named or list(graph.inputs)
    if len(candidates) != 1 or candidates[0].shape is None or len(candidates[0].shape) != 4:
        listed = ", ".join(f"{value.name} {value.shape}" for value in graph.inputs)
        raise ModelError(
            f"preprocessing is for input {name!r}, an image (batch, channels, height, width); the "
            f"model's inputs are {listed}.",
            hint="name the image input in the preprocessing.",
            code="model.preprocessing",
        )
    return candidates[0]


def _raw_shape(
    image: ir.Value, preprocessing: Preprocessing, opset: int
) -> tuple[int | str | None, ...]:
    """Return the shape of the raw image.

    Raises:
        InputError: Preprocessing does not fit the model's input.
        ModelError: The opset is too old to resize.
    """
    assert image.shape is not None
    batch, channels, *size = (d if isinstance(d, int) else d.value for d in image.shape)
    widths = (len(preprocessing.mean), len(preprocessing.std))
    if widths != (channels, channels) or 0 in preprocessing.std:
        raise InputError(
            f"preprocessing has {widths[0]} means and {widths[1]} standard deviations "
            f"{preprocessing.std}; the model's input {image.name!r} has {channels} channels.",
            hint="give one mean and one standard deviation other than 0 a channel.",
            code="input.preprocessing",
        )
    if preprocessing.size is None:
        return (batch, *size, channels)
    asked = preprocessing.size
    if any(isinstance(own, int) and own != new for own, new in zip(size, asked, strict=True)):
        raise InputError(
            f"preprocessing resizes to {asked}, and the model's input {image.name!r} is {size}.",
            hint="resize to the model's own size.",
            code="input.preprocessing",
        )
    if opset < _RESIZE_AXES_OPSET:
        raise ModelError(
            f"resizing inside the graph needs opset {_RESIZE_AXES_OPSET}; the model has {opset}.",
            hint="export it with opset_version=20, or resize before the model.",
            code="model.opset",
        )
    return (batch, "height", "width", channels)


def _per_channel(values: Sequence[float]) -> npt.NDArray[np.float32]:
    return np.array(values, dtype=np.float32).reshape(1, -1, 1, 1)


class _Chain:
    """Nodes in a row, each reading the one before, put at the front of a graph."""

    def __init__(self, graph: ir.Graph, start: ir.Value) -> None:
        self._graph = graph
        self._prefix = f"{start.name}.preprocessing"
        self._end = start
        self._nodes: list[ir.Node] = []

    def add(self, op_type: str, *constants: npt.NDArray[Any], **attributes: Any) -> None:
        """Append a node that reads the end of the chain and some constants."""
        inputs = [self._end, *(self._constant(array) for array in constants)]
        self._append(op_type, inputs, attributes)

    def resize(self, size: tuple[int, int]) -> None:
        """Append a bilinear Resize of the last two axes."""
        sizes = self._constant(np.array(size, dtype=np.int64))
        attributes = {
            "mode": "linear",
            "coordinate_transformation_mode": "half_pixel",
            "antialias": 0,
            "axes": [2, 3],
        }
        self._append("Resize", [self._end, None, None, sizes], attributes)

    def finish(self, replaced: ir.Value) -> None:
        """Insert the chain, and let all that read ``replaced`` read its end."""
        self._end.name = replaced.name
        replaced.replace_all_uses_with(self._end)
        self._end.shape, self._end.type = replaced.shape, replaced.type
        self._graph.insert_before(self._graph[0], self._nodes)

    def _constant(self, array: npt.NDArray[Any]) -> ir.Value:
        return add_constant(self._graph, f"{self._prefix}.constant", array)

    def _append(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]
    ) -> None:
        node = ir.node(
            op_type, inputs, attributes, name=f"{self._prefix}.{op_type}_{len(self._nodes)}"
        )
        node.outputs[0].name = f"{node.name}.output"
        self._nodes.append(node)
        self._end = node.outputs[0]
