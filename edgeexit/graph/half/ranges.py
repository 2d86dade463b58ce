"""How large the values of a graph become: what float16 could hold, measured on ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort

from edgeexit.bundle.specs import BATCH
from edgeexit.errors import EdgeExitError, ModelError, is_out_of_memory, out_of_memory
from edgeexit.graph.axes import describe_input
from edgeexit.graph.constants import contents
from edgeexit.graph.origins import is_constant
from edgeexit.samples import random_inputs

Sample = Mapping[str, npt.NDArray[Any]]
Array = npt.NDArray[Any]

_GROUP = 64
"""Nodes whose values are fetched in one run: 200 MB for the first layers of a CNN at 224 pixels."""

_RANDOM_SAMPLES = 4


@dataclass(frozen=True)
class HalfRanges:
    """What was measured.

    Attributes:
        largest: Largest finite magnitude of each float32 value, by name; 0 where all are 0.
        sums: By node: the largest magnitude that a sum inside it can reach in any order of adding,
            and the smallest sum of squares other than 0 (infinity where it adds no squares).
    """

    largest: Mapping[str, float] = field(default_factory=dict)
    sums: Mapping[ir.Node, tuple[float, float]] = field(default_factory=dict)


def measure_ranges(
    model: ir.Model, samples: Sequence[Sample] | None, workdir: Path | None = None
) -> HalfRanges:
    """Run a float32 model, or an int8 one with float32 pairs, and note how large values become.

    Args:
        model: The whole model; values without a dtype get the one they turn out to have.
        samples: Batches of inputs by name; random ones if None.
        workdir: A folder for a temporary copy of the model.

    Raises:
        ModelError: The model does not run on ONNX Runtime.
    """
    largest: dict[str, float] = {}
    sums: dict[ir.Node, tuple[float, float]] = {}
    nodes = list(model.graph)
    groups = [nodes[start : start + _GROUP] for start in range(0, len(nodes), _GROUP)]
    with TemporaryDirectory(dir=workdir) as folder:
        run = _open(model, Path(folder))
        for sample in _batches(model, samples):
            _note(largest, model.graph.inputs, sample)
            for group in groups:
                wanted = list(dict.fromkeys(_wanted(group)))
                arrays = run([str(value.name) for value in wanted], sample)
                _note(largest, wanted, arrays)
                for node in group:
                    _add_sums(sums, node, {**sample, **arrays})
    return HalfRanges(largest, sums)


def _batches(model: ir.Model, samples: Sequence[Sample] | None) -> Iterator[dict[str, Array]]:
    """Yield the samples, of just the model's inputs, or random ones of the right batch size."""
    specs = [describe_input(value) for value in model.graph.inputs]
    if samples is not None:
        for sample in samples:
            yield {spec.name: np.asarray(sample[spec.name]) for spec in specs}
        return
    made = random_inputs(specs, _RANDOM_SAMPLES)
    if any(BATCH in spec.shape for spec in specs):
        yield made
        return
    batched = {spec.name for spec in specs if spec.batch_axis == 0}
    for row in range(_RANDOM_SAMPLES):
        yield {n: a[row : row + 1] if n in batched else a for n, a in made.items()}


def _open(model: ir.Model, folder: Path) -> Callable[[Sequence[str], Sample], dict[str, Array]]:
    """Return a function that runs the model on inputs and returns the named values."""
    graph, path = model.graph, folder / "measured.onnx"
    kept = list(graph.outputs)
    produced = [v for node in graph for v in node.outputs if v.name and _may_be_float(v)]
    read = [v for node in graph if _adds(node) for v in _produced(node)]
    graph.outputs[:] = list(dict.fromkeys([*kept, *produced, *read]))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # Fused operations would hide what lies between them.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        ir.save(model, path, external_data="measured.bin")
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:
        raise _not_runnable(error) from error
    finally:
        graph.outputs[:] = kept

    def run(names: Sequence[str], sample: Sample) -> dict[str, Array]:
        try:
            return dict(zip(names, session.run(names, dict(sample)), strict=True)) if names else {}
        except Exception as error:
            raise _not_runnable(error) from error

    return run


def _not_runnable(error: Exception) -> EdgeExitError:
    if is_out_of_memory(error):
        return out_of_memory("ONNX Runtime cannot run the model")
    return ModelError(
        f"the ranges of the model's values cannot be measured: ONNX Runtime says "
        f"{str(error).splitlines()[0][:300]}",
        hint="check that the model runs by itself on the data that were given.",
        code="model.not-runnable",
    )


def _may_be_float(value: ir.Value) -> bool:
    return value.dtype in (None, ir.DataType.FLOAT)


def _produced(node: ir.Node) -> list[ir.Value]:
    return [v for v in node.inputs if v is not None and v.producer() is not None]


def _wanted(group: Sequence[ir.Node]) -> Iterator[ir.Value]:
    for node in group:
        yield from (v for v in node.outputs if v.name and _may_be_float(v))
        if _adds(node):
            yield from _produced(node)


def _note(largest: dict[str, float], values: Sequence[ir.Value], arrays: Sample) -> None:
    for value in values:
        array = arrays[str(value.name)]
        value.dtype = value.dtype or ir.DataType.from_numpy(array.dtype)
        if value.dtype == ir.DataType.FLOAT:
            found = magnitude(array)
            largest[str(value.name)] = max(found, largest.get(str(value.name), 0.0))


def magnitude(array: Array) -> float:
    """Return the largest finite magnitude in an array, 0 if there is none."""
    high, low = (float(f(array, initial=0.0)) for f in (np.max, np.min))
    if math.isfinite(high) and math.isfinite(low):
        return max(high, -low)
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


_SUMS = frozenset({"GlobalAveragePool", "ReduceL1", "ReduceMean", "ReduceSum"})
_SQUARES = frozenset({"ReduceL2", "ReduceSumSquare"})


def _adds(node: ir.Node) -> bool:
    """Tell whether a node adds up many values of activations.

    Products with weights are left out: their engines add in float32 or int32, and what matters
    of them is the result.
    """
    if node.op_type == "MatMul":
        producers = [value.producer() for value in _produced(node)]
        quantized = any(p is not None and p.op_type == "DequantizeLinear" for p in producers)
        return not quantized and not any(v is None or is_constant(v) for v in node.inputs)
    return node.op_type in _SUMS | _SQUARES


def _add_sums(
    sums: dict[ir.Node, tuple[float, float]], node: ir.Node, arrays: Mapping[str, Array]
) -> None:
    """Note what the sums inside a node reach on one batch."""
    names = [str(value.name) for value in node.inputs if value is not None]
    if not _adds(node) or names[0] not in arrays or arrays[names[0]].dtype != np.float32:
        return
    first = np.abs(arrays[names[0]])
    smallest = math.inf
    if node.op_type == "MatMul":
        largest = float(np.matmul(first, np.abs(arrays[names[1]])).max(initial=0.0))
    elif node.op_type in _SQUARES:
        total = np.square(first, dtype=np.float64).sum(axis=_axes(node, first.ndim))
        largest = float(np.max(total, initial=0.0))
        smallest = float(np.min(np.where(total > 0, total, math.inf), initial=math.inf))
    else:
        largest = float(np.max(first.sum(axis=_axes(node, first.ndim)), initial=0.0))
    before = sums.get(node, (0.0, math.inf))
    sums[node] = (max(before[0], largest), min(before[1], smallest))


def _axes(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """Return the axes that a reduction sums over, None for all of them."""
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, rank))
    axes = contents(node, 1)
    if axes is not None and axes.size:
        return tuple(int(axis) for axis in axes)
    keeps = "noop_with_empty_axes" in node.attributes
    return () if keeps and node.attributes["noop_with_empty_axes"].as_int() else None
