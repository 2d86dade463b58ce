"""K stage runners in a row at one batch size, each reading where the one before it wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.specs import TensorSpec
from edgeexit.errors import InputError
from edgeexit.runtime.device_inputs import DeviceInput
from edgeexit.runtime.dial import Dial
from edgeexit.runtime.inputs import Array
from edgeexit.runtime.plan import Plan, sample_places, sample_rows
from edgeexit.targets.base import Engine
from edgeexit.targets.buffer import Buffer
from edgeexit.targets.info import Dims

Host = Callable[[], npt.NDArray[Any]]

Kept = list[npt.NDArray[Any]]
"""What later stages read of one sample."""


class Lane:
    """The buffers of one call at one size. One thread at a time.

    A tensor that several stages read has one buffer, to which all of them are bound.

    Args:
        plan: The bundle's plan.
        engines: One engine a stage.
        dims: A value for each symbol.

    Attributes:
        bucket: Samples it holds.
        runs: K calls without arguments, each runs a stage.
        scores: K - 1 calls that return a gate's scores ``(bucket,) float32``.
    """

    __slots__ = ("_buffers", "_dial", "_outputs", "_params", "_plan", "_runners", "bucket",
                 "features", "runs", "scores")  # fmt: skip

    def __init__(self, plan: Plan, engines: Sequence[Engine], dims: Dims) -> None:
        self.bucket = dims["batch"]
        self._plan = plan
        self._dial: Dial | None = None
        self._buffers: dict[str, Buffer] = {}
        self._runners = [engine.runner(dims) for engine in engines]
        for stage, runner in zip(plan.stages, self._runners, strict=True):
            for spec in stage.inputs + stage.carried_in:
                if spec.name in self._buffers:
                    runner.bind(spec.name, self._buffers[spec.name])
                else:
                    self._buffers[spec.name] = runner.buffer(spec.name)
            for spec in stage.carried_out:
                self._buffers[spec.name] = runner.buffer(spec.name)
        gated = [
            (stage.gate, runner)
            for stage, runner in zip(plan.stages, self._runners, strict=True)
            if stage.gate is not None
        ]
        self._params = [runner.buffer(gate.params.name) for gate, runner in gated]
        self._outputs = [
            [(spec, runner.buffer(spec.name)) for spec in stage.exit.outputs]
            for stage, runner in zip(plan.stages, self._runners, strict=True)
        ]
        self.runs: list[Callable[[], None]] = [runner.run for runner in self._runners]
        self.scores: list[Host] = [runner.buffer(gate.score).host for gate, runner in gated]
        self.features: list[Host] = [
            runner.buffer(gate.features_output).host for gate, runner in gated
        ]

    def apply(self, dial: Dial) -> None:
        """Write the gate parameters of a setting, unless they are there already."""
        if self._dial is dial:
            return
        if self._dial is not None and self._dial.params is dial.params:
            # As between the settings of one governor.
            self._dial = dial
            return
        self._dial = None
        for buffer, params in zip(self._params, dial.params, strict=True):
            buffer.write(params)
        self._dial = dial

    def write(self, arrays: Sequence[Array], start: int = 0, stop: int = -1) -> None:
        """Copy the samples from ``start`` to ``stop`` in, the first of them repeated as padding.

        Args:
            arrays: One array an input, in the model's order.
            start: The first sample.
            stop: The one after the last; -1 where the arrays hold exactly the lane's samples.
        """
        for spec, array in zip(self._plan.inputs, arrays, strict=True):
            buffer = self._buffers.get(spec.name)
            if buffer is None:
                continue
            if isinstance(array, DeviceInput):
                _write_device(buffer, array, spec, start, stop)
                continue
            if stop >= 0 and spec.batch_axis is not None:
                array = _slice(array, spec, start, stop, self.bucket)
            buffer.write(array)

    def write_each(self, samples: Sequence[Kept]) -> None:
        """Copy the inputs of ``m <= bucket`` samples in, the first repeated as padding.

        Args:
            samples: One a sample: its arrays in the order of the model's inputs.
        """
        padded = [*samples, *([samples[0]] * (self.bucket - len(samples)))]
        for place, spec in enumerate(self._plan.inputs):
            if spec.name in self._buffers:
                self._write_joined(spec, [arrays[place] for arrays in padded])

    def move(self, index: int, slots: npt.NDArray[np.intp], other: Lane) -> None:
        """Copy what stages after ``index`` (from 0) read to a smaller lane, for some samples only.

        Args:
            index: The stage that has just run.
            slots: ``(m,)`` places of the samples here; they come to places 0 to m - 1 there.
            other: The lane to continue in; the first sample is repeated as padding.
        """
        padded = np.full(other.bucket, slots[0], np.intp)
        padded[: len(slots)] = slots
        for spec in self._plan.live[index]:
            source, target = self._buffers[spec.name], other._buffers[spec.name]
            if spec.batch_axis is None:
                target.copy(source)
            else:
                source.take(sample_places(padded, spec.rows_per_sample), spec.batch_axis, target)

    def keep(self, index: int, slots: npt.NDArray[np.intp]) -> list[Kept]:
        """Copy what stages after ``index`` (from 0) read to the host, for some samples.

        Returns:
            One a sample: its arrays in the order of the plan's live tensors.
        """
        kept: list[Kept] = [[] for _ in slots]
        for spec in self._plan.live[index]:
            host = self._buffers[spec.name].host()
            whole = host.copy() if spec.batch_axis is None else take_samples(host, spec, slots)
            for place, arrays in enumerate(kept):
                arrays.append(_sample(whole, spec, place))
        return kept

    def restore(self, index: int, kept: Sequence[Kept]) -> None:
        """Write what :meth:`keep` copied of ``m <= bucket`` samples to places 0 to m - 1.

        Args:
            index: The stage after which it was copied.
            kept: One a sample; the first is repeated as padding.
        """
        padded = [*kept, *([kept[0]] * (self.bucket - len(kept)))]
        for place, spec in enumerate(self._plan.live[index]):
            self._write_joined(spec, [arrays[place] for arrays in padded])

    def _write_joined(self, spec: TensorSpec, parts: Kept) -> None:
        axis = spec.batch_axis
        self._buffers[spec.name].write(parts[0] if axis is None else np.concatenate(parts, axis))

    def logits(self, index: int, slots: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Copy the logits of some samples out of exit ``index`` (from 0), the samples first."""
        spec, buffer = self._outputs[index][0]
        return sample_rows(buffer.host(), spec, slots)

    def single_logits(self, index: int) -> npt.NDArray[Any]:
        """Copy the logits of a lane of one sample: :meth:`logits` without the row arithmetic."""
        spec, buffer = self._outputs[index][0]
        if spec.batch_axis == 0 and spec.rows_per_sample == 1 and spec.dtype != "bfloat16":
            return buffer.host().copy()
        return sample_rows(buffer.host(), spec, np.zeros(1, np.intp))

    def has_extras(self, index: int) -> bool:
        """Tell whether exit ``index`` (from 0) has outputs beside its logits."""
        return len(self._outputs[index]) > 1

    def extras(self, index: int, slots: npt.NDArray[np.intp]) -> dict[str, npt.NDArray[Any]]:
        """Copy the outputs beside the logits, by name, the samples first."""
        return {
            spec.name: sample_rows(buffer.host(), spec, slots)
            for spec, buffer in self._outputs[index][1:]
        }


def take_samples(array: Array, spec: TensorSpec, slots: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """Return the samples of a model input at ``slots``, in the input's own layout.

    Raises:
        InputError: It lies in the GPU's memory.
    """
    if isinstance(array, DeviceInput):
        raise InputError(
            f"samples of input {spec.name!r}, an array on the GPU, cannot be rearranged here.",
            hint="give numpy arrays to what measures or calibrates.",
            code="input.type",
        )
    if spec.batch_axis is None:
        return array
    return np.take(array, sample_places(slots, spec.rows_per_sample), axis=spec.batch_axis)


def _sample(array: npt.NDArray[Any], spec: TensorSpec, place: int) -> npt.NDArray[Any]:
    """Return a view of one sample in a tensor's own layout."""
    if spec.batch_axis is None:
        return array
    rows = slice(place * spec.rows_per_sample, (place + 1) * spec.rows_per_sample)
    view: npt.NDArray[Any] = array[(slice(None),) * spec.batch_axis + (rows,)]
    return view


def _write_device(
    buffer: Buffer, array: DeviceInput, spec: TensorSpec, start: int, stop: int
) -> None:
    """Copy the samples of an array in the GPU's memory in, the first repeated as padding."""
    if stop < 0 or spec.batch_axis is None:
        buffer.write(array.array)
    else:
        axis, each = spec.batch_axis, spec.rows_per_sample
        buffer.write_samples(array.array, axis, each, start, stop)


def _slice(
    array: npt.NDArray[Any], spec: TensorSpec, start: int, stop: int, bucket: int
) -> npt.NDArray[Any]:
    """Return the samples from ``start`` to ``stop``, the first repeated to fill the bucket."""
    if stop - start == bucket:
        each = spec.rows_per_sample
        whole = (slice(None),) * (spec.batch_axis or 0) + (slice(start * each, stop * each),)
        part: npt.NDArray[Any] = array[whole]
        return part
    slots = np.full(bucket, start, np.intp)
    slots[: stop - start] = np.arange(start, stop)
    return take_samples(array, spec, slots)
