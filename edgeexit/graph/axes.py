"""The shapes of boundary tensors, measured: which axis is the batch, and how each axis grows.

Shape inference loses symbols in reshapes, so each tensor is looked at where it is real: the whole
graph runs on ONNX Runtime at several sizes, and each axis must be an affine function of one
symbol. A last run with the samples in another order shows that rows do not mix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort

from edgeexit.bundle.specs import BATCH, Compaction, Dim, TensorSpec, dim_symbol
from edgeexit.errors import EdgeExitError, ModelError, is_out_of_memory, out_of_memory
from edgeexit.samples import DEFAULT_LENGTH, random_array

Inputs = dict[str, npt.NDArray[Any]]

_BATCHES = (2, 3, 5)
_MIXING_TOLERANCE = 1e-2
"""Relative difference of a row after reordering above which samples must have mixed."""


@dataclass(frozen=True)
class MeasuredAxes:
    """What was found.

    Attributes:
        specs: A spec for each tensor asked for, by name.
        compaction: Whether all carried tensors keep samples apart along their batch axis.
        sizes: The size of each symbol at which costs are counted.
    """

    specs: Mapping[str, TensorSpec]
    compaction: Compaction
    sizes: Mapping[str, int]


def describe_input(value: ir.Value) -> TensorSpec:
    """Return the spec of a model input from its declared shape.

    Raises:
        ModelError: The input has no declared shape or element type.
    """
    if value.shape is None or value.dtype is None:
        raise ModelError(
            f"input {value.name!r} declares no shape or element type.",
            hint="export the model with input shapes, the batch axis first.",
            code="model.input-shape",
        )
    dims: list[Dim] = [d if isinstance(d, int) else str(d.value) for d in value.shape]
    first = dims[0] if dims else None
    batched = first in (BATCH, 1)
    return TensorSpec(
        value.name or "", _dtype(value), tuple(dims), 0 if batched else None, 1 if batched else 0
    )


def measure_axes(
    model: ir.Model, values: Sequence[ir.Value], samples: Inputs | None, folder: Path
) -> MeasuredAxes:
    """Measure the shapes of values by running the model.

    Args:
        model: The whole model, its weights already external in ``folder``.
        values: The values whose shapes are wanted.
        samples: Inputs to run on, ``(n, ...)`` each, or None for random ones.
        folder: Where the weights lie; a temporary graph is written beside them.

    Raises:
        ModelError: The model does not run, or an axis is not an affine function of one symbol.
    """
    inputs = [describe_input(value) for value in model.graph.inputs]
    symbols = sorted({s for spec in inputs for d in spec.shape if (s := dim_symbol(d))})
    run = _open_probe(model, values, folder)
    base = {s: _BATCHES[0] if s == BATCH else _length(s, inputs, samples) for s in symbols}
    make = _input_maker(inputs, samples)
    arrays = run(make(base))
    for value in values:
        value.dtype = value.dtype or ir.DataType.from_numpy(arrays[value.name or ""].dtype)
    first = _shapes(arrays)
    dims: dict[str, list[Dim]] = {name: list(shape) for name, shape in first.items()}
    for symbol in symbols:
        sizes = _BATCHES if symbol == BATCH else _lengths(base[symbol])
        shapes = [_shapes(run(make({**base, symbol: size}))) for size in sizes]
        for name, found in dims.items():
            _note_growth(name, found, symbol, sizes, [shape[name] for shape in shapes])
    specs = {v.name or "": _spec(v, dims[v.name or ""]) for v in values}
    compaction = _check_rows(run, make({**base, **_batch_of(symbols, 3)}), specs, inputs)
    return MeasuredAxes(specs, compaction, base)


def _length(symbol: str, specs: Sequence[TensorSpec], samples: Inputs | None) -> int:
    """Return the size that the samples have along a dynamic axis."""
    for spec in specs:
        if samples is not None and spec.name in samples and symbol in spec.shape:
            return int(samples[spec.name].shape[spec.shape.index(symbol)])
    return DEFAULT_LENGTH


def _lengths(length: int) -> tuple[int, int, int]:
    """Return three evenly spread sizes up to ``length``: a longer one may not be allowed."""
    step = max(1, length // 4)
    return length, max(1, length - step), max(1, length - 2 * step)


def _batch_of(symbols: Sequence[str], size: int) -> dict[str, int]:
    return {BATCH: size} if BATCH in symbols else {}


def _open_probe(
    model: ir.Model, values: Sequence[ir.Value], folder: Path
) -> Callable[[Inputs], dict[str, npt.NDArray[Any]]]:
    """Return a function that runs the model and returns the given values by name."""
    graph = model.graph
    kept = list(graph.outputs)
    names = [value.name or "" for value in values]
    graph.outputs[:] = [*kept, *(v for v in values if v not in kept)]
    path = folder / "probe.onnx"
    try:
        ir.save(model, path)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:
        raise _not_runnable(error) from error
    finally:
        graph.outputs[:] = kept
        path.unlink(missing_ok=True)

    def run(inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
        try:
            return dict(zip(names, session.run(names, inputs), strict=True))
        except Exception as error:
            raise _not_runnable(error) from error

    return run


def _not_runnable(error: Exception) -> EdgeExitError:
    if is_out_of_memory(error):
        return out_of_memory("ONNX Runtime cannot run the model")
    return ModelError(
        f"the model does not run on ONNX Runtime: {str(error).splitlines()[0][:300]}",
        hint="check that it runs by itself; give --samples if it needs inputs of a certain kind.",
        code="model.not-runnable",
    )


def _input_maker(
    specs: Sequence[TensorSpec], samples: Inputs | None
) -> Callable[[Mapping[str, int]], Inputs]:
    """Return a function that makes inputs of given sizes: from the samples, or random."""

    def make(dims: Mapping[str, int]) -> Inputs:
        made = {}
        for spec in specs:
            shape = spec.resolve(dims)
            if samples is not None and spec.name in samples:
                made[spec.name] = _fit(samples[spec.name], shape)
            else:
                made[spec.name] = random_array(spec, shape, seed=0)
        return made

    return make


def _fit(array: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    """Repeat and cut an array along each axis until it has the shape."""
    for axis, size in enumerate(shape):
        array = np.take(array, np.arange(size) % array.shape[axis], axis=axis)
    return np.ascontiguousarray(array)


def _shapes(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _note_growth(
    name: str,
    dims: list[Dim],
    symbol: str,
    sizes: Sequence[int],
    shapes: Sequence[tuple[int, ...]],
) -> None:
    """Write ``a*symbol+b`` into each axis that grows with the symbol."""
    for axis in range(len(dims)):
        found = [shape[axis] for shape in shapes]
        if len(set(found)) == 1:
            continue
        factor, rest = divmod(found[1] - found[0], sizes[1] - sizes[0])
        offset = found[0] - factor * sizes[0]
        fits = all(factor * s + offset == f for s, f in zip(sizes, found, strict=True))
        if rest or factor < 1 or not fits or not isinstance(dims[axis], int):
            raise ModelError(
                f"axis {axis} of boundary tensor {name!r} has sizes {found} where {symbol!r} is "
                f"{list(sizes)}: no sum of a multiple of one dynamic axis and a constant.",
                hint=f"export the model with a fixed {symbol!r}.",
                code="model.boundary-shape",
            )
        dims[axis] = (f"{factor}*" if factor > 1 else "") + symbol
        dims[axis] = f"{dims[axis]}{offset:+d}" if offset else dims[axis]


def _spec(value: ir.Value, dims: Sequence[Dim]) -> TensorSpec:
    """Find the batch axis: the one that grows as a plain multiple of the batch."""
    for axis, dim in enumerate(dims):
        if dim_symbol(dim) == BATCH and "+" not in str(dim) and "-" not in str(dim):
            rows = int(str(dim).split("*", maxsplit=1)[0]) if "*" in str(dim) else 1
            return TensorSpec(value.name or "", _dtype(value), tuple(dims), axis, rows)
    return TensorSpec(value.name or "", _dtype(value), tuple(dims), None, 0)


def _check_rows(
    run: Callable[[Inputs], dict[str, npt.NDArray[Any]]],
    inputs: Inputs,
    specs: Mapping[str, TensorSpec],
    input_specs: Sequence[TensorSpec],
) -> Compaction:
    """Run the samples in order and rolled by one: every tensor must roll with them."""
    if not any(BATCH in spec.shape for spec in input_specs):
        return Compaction(False, "the model was exported with a fixed batch of 1")
    rolled = {
        s.name: np.roll(inputs[s.name], 1, axis=s.batch_axis)
        if s.batch_axis is not None
        else inputs[s.name]
        for s in input_specs
    }
    plain, moved = run(inputs), run(rolled)
    for name, spec in specs.items():
        if spec.batch_axis is None:
            if not np.array_equal(plain[name], moved[name]):
                return Compaction(False, f"tensor {name!r} mixes the samples of a batch")
            continue
        expected = np.roll(plain[name], spec.rows_per_sample, axis=spec.batch_axis)
        # int8 steps and float noise may differ; samples that mix differ by as much as they vary.
        difference = np.abs(expected.astype(np.float64) - moved[name]).mean()
        scale = np.abs(expected.astype(np.float64)).mean() + 1e-12
        if difference > _MIXING_TOLERANCE * scale:
            return Compaction(False, f"tensor {name!r} mixes the samples of a batch")
    return Compaction(True)


def _dtype(value: ir.Value) -> str:
    if value.dtype is None:
        raise ModelError(
            f"the element type of tensor {value.name!r} is not known.",
            hint="run the model through onnx.shape_inference, or export it again.",
            code="model.dtype",
        )
    return {ir.DataType.BFLOAT16: "bfloat16"}.get(value.dtype) or str(value.dtype.numpy())
