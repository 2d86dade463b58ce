"""What the runtime works out of a manifest once, so that a call does not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import BATCH, Manifest, StageSpec, TensorSpec, dim_symbol

_MAP_RANK = 4


def sample_rows(
    array: npt.NDArray[np.generic], spec: TensorSpec, positions: npt.NDArray[np.intp]
) -> npt.NDArray[np.generic]:
    """Copy the samples at ``positions`` out of a stage's output, the samples first.

    Args:
        array: The whole tensor, in the shape of ``spec``.
        spec: Says along which axis samples lie and how many rows each has.
        positions: ``(m,)`` places of samples in the batch.

    Returns:
        ``(m, ...)``: the other axes in their order; where a sample has several rows they come
        in place of the batch axis. ``bfloat16`` is widened to ``float32``.
    """
    if spec.dtype == "bfloat16":
        array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    axis = spec.batch_axis
    if axis == 0 and spec.rows_per_sample == 1:
        return array.take(positions, 0)
    if axis is None:
        return np.repeat(array[None], len(positions), axis=0)
    if spec.rows_per_sample != 1:
        shape = array.shape
        array = array.reshape(*shape[:axis], -1, spec.rows_per_sample, *shape[axis + 1 :])
    return np.moveaxis(np.take(array, positions, axis=axis), axis, 0)


def sample_places(slots: npt.NDArray[np.intp], each: int) -> npt.NDArray[np.intp]:
    """Return the rows of the samples at ``slots``, where each sample has ``each`` rows."""
    if each == 1:
        return slots
    rows: npt.NDArray[np.intp] = (slots[:, None] * each + np.arange(each)).ravel()
    return rows


@dataclass(frozen=True)
class Plan:
    """The stages of a bundle as the runtime walks them.

    Attributes:
        stages: The K stages in order.
        inputs: The model's inputs in order.
        symbols: Symbols of the inputs' shapes other than the batch, in a fixed order.
        batched: True where the model takes batches of any size.
        compacts: True where rows that exit may leave a batch; elsewhere samples run one by one.
        live: One tuple a stage: the tensors that stages after it still read.
        native: Boundary tensors that may stay in the type in which the engine computes.
        uniform: True where every exit's logits have one shape, so that they fit one array.
        costs: ``c_k`` in FLOPs as fractions of the static model, length K.
    """

    stages: tuple[StageSpec, ...]
    inputs: tuple[TensorSpec, ...]
    symbols: tuple[str, ...]
    batched: bool
    compacts: bool
    live: tuple[tuple[TensorSpec, ...], ...]
    native: frozenset[str]
    uniform: bool
    costs: tuple[float, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> Plan:
        """Work out the plan of a bundle's manifest."""
        batched = any(dim_symbol(dim) == BATCH for spec in manifest.inputs for dim in spec.shape)
        return cls(
            stages=manifest.stages,
            inputs=manifest.inputs,
            symbols=input_symbols(manifest.inputs),
            batched=batched,
            compacts=batched and manifest.compaction.allowed,
            live=tuple(_live_after(manifest.stages, k) for k in range(len(manifest.stages))),
            native=native_tensors(manifest.stages),
            uniform=_uniform([stage.exit.outputs[0] for stage in manifest.stages]),
            costs=manifest.flops_costs,
        )

    @property
    def exits(self) -> int:
        """The number K of exits."""
        return len(self.stages)

    def dims(self, bucket: int, symbols: tuple[int, ...]) -> dict[str, int]:
        """Return a value for every symbol: the batch and, in order, the others."""
        return {BATCH: bucket, **dict(zip(self.symbols, symbols, strict=True))}


def input_symbols(specs: Iterable[TensorSpec]) -> tuple[str, ...]:
    """Return the symbols of the inputs' shapes other than the batch, sorted."""
    found = {dim_symbol(dim) for spec in specs for dim in spec.shape}
    return tuple(sorted(name for name in found if name is not None and name != BATCH))


def native_tensors(stages: tuple[StageSpec, ...]) -> frozenset[str]:
    """Return the boundary tensors that are neither a gate's state nor an exit's output."""
    carried = {spec.name for stage in stages for spec in stage.carried_out}
    state = {name for stage in stages if stage.gate for name in stage.gate.state}
    outputs = {spec.name for stage in stages for spec in stage.exit.outputs}
    return frozenset(carried - state - outputs)


def feature_maps(stages: tuple[StageSpec, ...]) -> tuple[TensorSpec, ...]:
    """Return the native tensors of shape ``(batch, C, H, W)``, where C, H and W are numbers."""
    native = native_tensors(stages)
    return tuple(
        spec
        for stage in stages
        for spec in stage.carried_out
        if spec.name in native
        and len(spec.shape) == _MAP_RANK
        and (spec.batch_axis, spec.rows_per_sample) == (0, 1)
        and all(isinstance(dim, int) for dim in spec.shape[1:])
    )


def _live_after(stages: tuple[StageSpec, ...], index: int) -> tuple[TensorSpec, ...]:
    """Return what must survive a change of buffers after stage ``index`` (from 0)."""
    made = {spec.name for stage in stages[: index + 1] for spec in stage.carried_out}
    live: dict[str, TensorSpec] = {}
    for stage in stages[index + 1 :]:
        live |= {spec.name: spec for spec in stage.inputs}
        live |= {spec.name: spec for spec in stage.carried_in if spec.name in made}
    return tuple(live.values())


def _uniform(logits: list[TensorSpec]) -> bool:
    """Tell whether all logits have the same shape, layout and type."""
    first = logits[0]
    return all(
        (spec.shape, spec.dtype, spec.batch_axis, spec.rows_per_sample)
        == (first.shape, first.dtype, first.batch_axis, first.rows_per_sample)
        for spec in logits
    )
