"""Which nodes of a graph keep float32 where the rest becomes float16, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeexit.graph.constants import contents
from edgeexit.graph.half.bounds import HALF_LIMIT, LARGEST_HALF
from edgeexit.graph.half.operators import half_ports
from edgeexit.graph.half.ranges import HalfRanges, magnitude
from edgeexit.graph.origins import Origin, find_origins, is_constant
from edgeexit.graph.repairs import PRODUCTS

SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)
"""2^-14 = 6.1e-5: below it float16 loses a bit of precision with every halving."""

HALF_FLOOR = 8 * SMALLEST_NORMAL
"""A value whose largest magnitude is below keeps float32: an input to come that reaches only an
eighth of it would be held in less than float16's 11 bits throughout."""

_MOST_COUNTED = 2048
"""2^11: float16 has every integer up to it, and not every one above."""

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_ADDING = frozenset({"Add", "Sub", "Sum", "Concat"})
_FLOORS = frozenset({"Add", "Clip", "Max", "Min", "Sub", "Where"})
_SQUARING = frozenset({"Abs", "Pow", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare"})
_ROOTS = frozenset({"Log", "Pow", "Reciprocal", "Sqrt"})
_MOVING = frozenset({"Expand", "Flatten", "Reshape", "Squeeze", "Tile", "Transpose", "Unsqueeze"})
_PREPROCESSING = frozenset({*_MOVING, "Add", "Cast", "Div", "Mul", "Pad", "Resize", "Slice", "Sub"})


@dataclass(frozen=True)
class Kept:
    """Why a node keeps float32.

    Attributes:
        rule: ``range``, ``sum``, ``small``, ``constant``, ``epsilon``, ``scale``, ``counts``,
            ``sizes``, ``preprocessing``, ``operator``, ``between`` or, of a quantizer, ``input``.
        reason: In words.
        largest: The magnitude that decided, or None where none did.
    """

    rule: str
    reason: str
    largest: float | None = None


def find_kept(model: ir.Model, ranges: HalfRanges) -> dict[ir.Node, Kept]:
    """Return the nodes that must keep float32, in the graph's order.

    1. ``operator``: the operator's definition knows no float16.
    2. ``sizes``: computes with the sizes of tensors.
    3. ``preprocessing``: turns an input's raw numbers into those that the first layer reads.
    4. ``range``: reads or writes values beyond a quarter of 65504.
    5. ``sum``: a sum of many activations, or of their squares, inside it leaves the range; what
       is left to inputs to come is squared as well.
    6. ``small``: reads or writes a tensor whose largest value is below 8 · 2^-14; adding one to
       larger values is no harm.
    7. ``constant``: multiplies with a constant that float16 does not hold.
    8. ``epsilon``: a constant below 2^-14 keeps a root or quotient finite; the norm around it.
    9. ``scale``: a quantization pair's scale is below 2^-14; the product it belongs to. Its int8
       operands stay, and what comes out of them is float32.
    10. ``counts``: becomes an integer, and exceeds 2048.
    11. ``between``: all its neighbours are kept, so float16 would cost two casts and gain nothing.

    Normalizations, Softmax, Gelu and Erf have no rule of their own. ONNX defines that
    LayerNormalization computes in float32 by default (``stash_type``), ONNX Runtime and
    TensorRT (INormalizationLayer) do so, and the others map to a bounded range: with float16
    around them the logits of the models in the tests change no more than without them.

    Args:
        model: Every value has a dtype.
        ranges: What was measured on this model.
    """
    rules = _Rules(model, ranges)
    found: dict[ir.Node, Kept] = {}
    for node in model.graph:
        if (kept := rules.of(node)) is not None:
            found[node] = kept
    for node, kept in list(found.items()):
        if kept.rule == "epsilon":
            for other in _norm_around(node):
                found.setdefault(other, kept)
    for node in _preprocessing(model.graph):
        found.setdefault(node, Kept("preprocessing", "it prepares the model's input"))
    _add_between(model.graph, found)
    return {node: found[node] for node in model.graph if node in found}


class _Rules:
    """The rules that look at one node at a time."""

    def __init__(self, model: ir.Model, ranges: HalfRanges) -> None:
        self._opset = model.graph.opset_imports.get("", 0)
        self._sizes = _computed_from_sizes(model.graph)
        self._ranges = ranges

    def of(self, node: ir.Node) -> Kept | None:
        """Return why a node keeps float32, or None where it need not or has none."""
        values = [*node.inputs, *node.outputs]
        if not any(v is not None and v.dtype == ir.DataType.FLOAT for v in values):
            return None
        if node.op_type in _PAIR:
            return None
        ports = half_ports(node, self._opset)
        floats = [p for p, v in enumerate(node.outputs) if v.dtype == ir.DataType.FLOAT]
        if set(floats[:1]) - set(ports.outputs):
            return Kept("operator", f"{node.op_type} knows no float16")
        if node in self._sizes:
            return Kept("sizes", "it computes with sizes")
        checks = (self._range, self._sum, self._scale, self._constant, self._small, self._counts)
        return next((kept for check in checks if (kept := check(node)) is not None), None)

    def _largest(self, values: Iterable[ir.Value | None]) -> float:
        names = [str(v.name) for v in values if v is not None and v.dtype == ir.DataType.FLOAT]
        return max((self._ranges.largest.get(name, 0.0) for name in names), default=0.0)

    def _range(self, node: ir.Node) -> Kept | None:
        largest = self._largest([*node.inputs, *node.outputs])
        if largest <= HALF_LIMIT:
            return None
        return Kept("range", f"its values reach {largest:.4g}", largest)

    def _sum(self, node: ir.Node) -> Kept | None:
        largest, smallest = self._ranges.sums.get(node, (0.0, math.inf))
        squares = math.isfinite(smallest)
        if largest > (HALF_LIMIT**2 / LARGEST_HALF if squares else HALF_LIMIT):
            return Kept("sum", f"a sum inside it can reach {largest:.4g}", largest)
        if smallest < HALF_FLOOR**2 / SMALLEST_NORMAL:
            return Kept(
                "sum", f"a sum of squares inside it is as small as {smallest:.4g}", smallest
            )
        return None

    def _small(self, node: ir.Node) -> Kept | None:
        values = [*node.outputs, *([] if node.op_type in _ADDING else node.inputs)]
        sizes = [self._largest([value]) for value in values]
        small = [size for size in sizes if 0 < size < HALF_FLOOR]
        if not small:
            return None
        return Kept(
            "small", f"one of its tensors reaches no more than {min(small):.4g}", min(small)
        )

    def _constant(self, node: ir.Node) -> Kept | None:
        for port, value in enumerate(node.inputs):
            array = contents(node, port)
            if value is None or array is None or array.dtype != np.float32:
                continue
            largest = magnitude(array)
            if node.op_type == "BatchNormalization" and port == 4 and array.min() < SMALLEST_NORMAL:
                least = float(array.min())
                return Kept("constant", f"one of its variances is {least:.4g}", least)
            if largest > LARGEST_HALF:
                return Kept("constant", f"its constant reaches {largest:.4g}", largest)
            if not 0 < largest < SMALLEST_NORMAL:
                continue
            if node.op_type in _FLOORS and array.size == 1:
                return Kept("epsilon", f"a norm with the constant {largest:.4g}", largest)
            if node.op_type not in _ADDING and not (node.op_type in PRODUCTS and port == 2):
                return Kept("constant", f"its constant reaches only {largest:.4g}", largest)
        return None

    def _scale(self, node: ir.Node) -> Kept | None:
        """Return why a product keeps float32 that reads a scale which float16 cannot hold."""
        for value in node.inputs:
            pair = value.producer() if value is not None else None
            if pair is None or pair.op_type != "DequantizeLinear":
                continue
            scale = contents(pair, 1)
            if scale is not None and scale.dtype == np.float32 and scale.min() < SMALLEST_NORMAL:
                smallest = float(scale.min())
                return Kept("scale", f"it reads int8 with the scale {smallest:.4g}", smallest)
        return None

    def _counts(self, node: ir.Node) -> Kept | None:
        counted = [
            reader
            for output in node.outputs
            for reader, _ in output.uses()
            if reader.op_type == "Cast" and reader.outputs[0].dtype in _INTEGERS
        ]
        largest = self._largest(node.outputs)
        if not counted or largest <= _MOST_COUNTED:
            return None
        return Kept("counts", f"it counts up to {largest:.4g}", largest)


_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


def _computed_from_sizes(graph: ir.Graph) -> set[ir.Node]:
    """Return the nodes that turn a size into a float, and those that compute with such floats."""
    origins = find_origins(graph)
    found: set[ir.Node] = set()
    for node in graph:
        if not node.outputs or origins[node.outputs[0]] is not Origin.SHAPE:
            continue
        sources = [v.producer() for v in node.inputs if v is not None]
        if node.op_type == "Cast" or any(source in found for source in sources if source):
            found.add(node)
    return found


def _norm_around(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the squares and sums before an epsilon, and all up to the quotient behind it."""
    pending = [v.producer() for v in node.inputs if v is not None]
    seen: set[ir.Node] = {node}
    while pending:
        source = pending.pop()
        if source is None or source in seen or not _is_squaring(source):
            continue
        seen.add(source)
        yield source
        pending += [v.producer() for v in source.inputs if v is not None]
    readers = [reader for reader, _ in node.outputs[0].uses()]
    while readers:
        reader = readers.pop()
        if reader in seen or reader.op_type not in _ROOTS | _MOVING | {"Div", "Mul"}:
            continue
        seen.add(reader)
        yield reader
        if reader.op_type in _ROOTS | _MOVING:
            readers += [user for user, _ in reader.outputs[0].uses()]


def _is_squaring(node: ir.Node) -> bool:
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    return node.op_type in _SQUARING | _MOVING | {"Sqrt", "Sub"}


def _preprocessing(graph: ir.Graph) -> list[ir.Node]:
    """Return the steps between an input of numbers and the first product or pair.

    Pixels have 256 levels, and float16 has every one; but (x·scale - mean)/std cancels what mean
    and pixel share, and the engine reads one byte a pixel either way: float32 costs nothing here.
    Only steps that read nothing but the input and constants, and that end in a product: the
    mask of a text encoder is an input too, and ends in an addition.
    """
    starts = (ir.DataType.UINT8, ir.DataType.FLOAT)
    reached = {value for value in graph.inputs if value.dtype in starts}
    steps: list[ir.Node] = []
    for node in graph:
        data = [v for v in node.inputs if v is not None and not is_constant(v)]
        if node.op_type in _PREPROCESSING and data and all(v in reached for v in data):
            reached.update(node.outputs)
            steps.append(node)
    ends = PRODUCTS | {"QuantizeLinear"}
    for node in reversed(list(steps)):
        readers = [reader for output in node.outputs for reader, _ in output.uses()]
        if not all(reader in steps or reader.op_type in ends for reader in readers):
            steps.remove(node)
    return steps


def _add_between(graph: ir.Graph, found: dict[ir.Node, Kept]) -> None:
    """Keep nodes that stand between kept ones only, products apart."""
    kept = Kept("between", "all around it is float32")
    for node in graph:
        if node in found or node.op_type in PRODUCTS or node.op_type in _PAIR:
            continue
        sources = [
            v.producer()
            for v in node.inputs
            if v is not None and v.dtype == ir.DataType.FLOAT and not is_constant(v)
        ]
        floats = [v for v in node.outputs if v.dtype == ir.DataType.FLOAT]
        readers = [reader for output in floats for reader, _ in output.uses()]
        outputs = any(value.is_graph_output() for value in node.outputs)
        if sources and readers and not outputs and all(n in found for n in (*sources, *readers)):
            found[node] = kept
