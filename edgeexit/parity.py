"""Parity: do the stages answer as the whole model does, and a lower precision as float32?

Every number here comes from running the graphs that ship, on the engines of this machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit.bundle.bundle import Bundle, Golden
from edgeexit.engine_check import require_survival
from edgeexit.errors import ModelError, TargetError
from edgeexit.runtime.golden import ExitParity, Logits, compare_golden, compare_logits
from edgeexit.runtime.machine import ANYWHERE, Machine
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
from edgeexit.samples import random_inputs
from edgeexit.targets.device import device_names, load_device
from edgeexit.targets.registry import get_target

Inputs = Mapping[str, npt.NDArray[Any]]

_CHUNK = 64
"""Samples in a batch of the reference run."""

_SINGLES = 64
"""Samples that are compared one by one."""

_ERRORS = 3
"""Log severity: ONNX Runtime warns of every float16 constant that it cannot fold."""

_RANDOM = 16
"""Random samples that are compared one by one."""


@dataclass(frozen=True)
class EngineParity:
    """Stages against the whole graph on one device's engine, in one precision.

    Attributes:
        device: The device file that was used.
        engine: The engine and its version.
        batch_1: Exits at batch 1, engines compiled for it.
        random: The same on random inputs.
        batches: Exits in batches, where the model allows them; in the shape mode in
            which the runtime runs them.
        golden: The stages against the golden outputs, which ONNX Runtime gave.
        agrees: Whether they, and ``exits_taken``, differ by no more than what the precision
            allows. Where they do, the engine computes this model wrongly, or its precision is too
            coarse for it.
        exits_taken: Largest logit difference when samples leave at all exits in turn, from the
            whole graph's logits at the exit taken.
    """

    device: str
    engine: str
    batch_1: tuple[ExitParity, ...]
    random: tuple[ExitParity, ...]
    batches: tuple[ExitParity, ...]
    golden: tuple[ExitParity, ...]
    agrees: bool
    exits_taken: float


@dataclass(frozen=True)
class PrecisionParity:
    """A lower precision against float32, exit by exit.

    Attributes:
        exits: The differences.
        float_accuracy: Accuracy of each exit in float32, or None without labels.
        accuracy: Accuracy of each exit in the bundle's precision, or None without labels.
    """

    exits: tuple[ExitParity, ...]
    float_accuracy: tuple[float, ...] | None
    accuracy: tuple[float, ...] | None


@dataclass(frozen=True)
class ParityReport:
    """What ``parity.json`` holds.

    Attributes:
        samples: Number of inputs.
        inputs: ``real`` or ``random``.
        engines: One entry a device whose engine is installed and has the precision.
        skipped: Why other devices were left out, by name.
        accuracy: Accuracy of each exit of the stages on the first engine, or None without labels.
        vs_float: Where the bundle is int8 or fp16.
    """

    samples: int
    inputs: str
    engines: tuple[EngineParity, ...]
    skipped: Mapping[str, str]
    accuracy: tuple[float, ...] | None
    vs_float: PrecisionParity | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return dataclasses.asdict(self)


def check_parity(
    bundle: Bundle,
    inputs: Inputs,
    *,
    labels: npt.NDArray[np.int64] | None = None,
    real: bool = True,
    device: str | Path | None = None,
    others: bool = True,
) -> ParityReport:
    """Compare stages with the whole graph on every engine that this machine has.

    Args:
        bundle: The bundle.
        inputs: ``(n, ...)`` an input.
        labels: ``(n,)`` or None.
        real: Whether the inputs are real data.
        device: The device that must run it; the bundle's own if None.
        others: Whether other built-in devices follow, as far as they can: those whose engines
            compile a graph when they open it, or, for a bundle that was prepared for engines built
            on the device, ``cpu`` alone.

    Raises:
        TargetError: An engine is installed and dies of the model or refuses it on the device
            that must run it; or no engine is installed.
    """
    first = bundle.manifest.device if device is None else device
    engines: list[EngineParity] = []
    skipped: dict[str, str] = {}
    accuracy: tuple[float, ...] | None = None
    for name in dict.fromkeys((first, *(_others(bundle) if others else ()))):
        try:
            Machine.of(bundle, name)
        except TargetError as error:
            skipped[str(name)] = _reason(name, error)
            continue
        try:
            require_survival(bundle.folder, name)
            report, logits = _check_engine(bundle, inputs, name)
        except TargetError as error:
            if name == first:
                raise
            skipped[str(name)] = error.message
            continue
        engines.append(report)
        if accuracy is None and labels is not None:
            accuracy = _accuracy(logits, labels)
    if not engines:
        raise TargetError(
            f"no engine here can run this bundle: {'; '.join(skipped.values())}",
            hint="pip install edgeexit[onnxruntime] or edgeexit[openvino].",
            code="target.none",
        )
    count = len(next(iter(inputs.values())))
    return ParityReport(count, "real" if real else "random", tuple(engines), skipped, accuracy)


def require_finite(report: ParityReport) -> None:
    """Raise where an exit answered NaN or infinity: nothing could be compared or calibrated.

    Raises:
        ModelError: The exit and the engine are named.
    """
    found = [
        (engine.engine, exit_)
        for engine in report.engines
        for exit_ in (*engine.batch_1, *engine.random, *engine.batches, *engine.golden)
    ]
    found += [
        ("ONNX Runtime", exit_) for exit_ in (report.vs_float.exits if report.vs_float else ())
    ]
    for engine_name, exit_ in found:
        if not np.isfinite(exit_.max_abs_difference):
            raise ModelError(
                f"exit {exit_.exit!r} answers NaN or infinity on {engine_name}.",
                hint="look for logarithms, roots and quotients that some inputs do not have; give "
                "real inputs with --data; where it answers well in f32, compile it so.",
                code="model.not-finite",
            )


def _reason(device: str | Path, error: TargetError) -> str:
    """Return why a device was left out; one whose engines are built on it is not expected here."""
    try:
        builds = get_target(load_device(device).engine).builds_on_device
    except TargetError:
        builds = False
    return f"prepared; built on the device. Here {error.message}" if builds else error.message


def _others(bundle: Bundle) -> list[str]:
    """Return the built-in devices on which a bundle is checked beside its own."""
    if bundle.recipe() is not None:
        return [ANYWHERE]
    return [
        name for name in device_names() if not get_target(load_device(name).engine).builds_on_device
    ]


def _check_engine(
    bundle: Bundle, inputs: Inputs, device: str | Path
) -> tuple[EngineParity, Logits]:
    with Runtime(bundle, target=device) as runtime:
        count = len(next(iter(inputs.values())))
        ones = _chunks(inputs, min(count, _SINGLES), 1)
        names = [stage.exit.name for stage in bundle.manifest.stages]
        noise = _chunks(random_inputs(bundle.manifest.inputs, _RANDOM), _RANDOM, 1)
        random = compare_logits(names, *_run_both(runtime, noise, batch=1))
        logits, whole = _run_both(runtime, ones, batch=1)
        static = compare_logits(names, logits, whole)
        dynamic: tuple[ExitParity, ...] = ()
        if bundle.manifest.compaction.allowed:
            # Whole buckets only: at other sizes the runtime pads, and engines pick other kernels.
            size = max(bucket for bucket in runtime.machine.buckets if bucket <= count)
            batch = size if runtime.machine.static_batches else None
            logits, whole = _run_both(runtime, _chunks(inputs, count, size), batch=batch)
            dynamic = compare_logits(names, logits, whole)
        taken = _exits_taken(runtime, inputs, whole)
        engine = runtime.machine.info.engine
        golden, allowed = compare_golden(runtime)
        agrees = taken <= max(allowed.values()) and all(
            found.max_abs_difference <= allowed[found.exit] for found in golden
        )
        parity = EngineParity(str(device), engine, static, random, dynamic, golden, agrees, taken)
        return parity, logits


def _run_both(
    runtime: Runtime, chunks: Sequence[Inputs], batch: int | None
) -> tuple[Logits, Logits]:
    """Return the logits of all exits, from the stages and from the whole graph."""
    whole = WholeModel.of_bundle(runtime.bundle, runtime.machine, "whole", batch=batch)
    try:
        staged = _stack([runtime.all_exits(dict(chunk)).logits for chunk in chunks])
        return staged, _stack([whole(dict(chunk)) for chunk in chunks])
    finally:
        whole.close()


def _chunks(inputs: Inputs, count: int, size: int) -> list[Inputs]:
    """Cut the first ``count`` samples into pieces of ``size``; a shorter rest is left out."""
    starts = range(0, count - size + 1, size)
    return [{name: array[i : i + size] for name, array in inputs.items()} for i in starts]


def _exits_taken(runtime: Runtime, inputs: Inputs, whole: Logits) -> float:
    """Let samples leave at exits 1, 2, ..., K, 1, ... and compare each with the whole graph."""
    count = len(whole[0])
    exits = np.arange(count) % len(whole) + 1
    result = runtime.run_to({name: array[:count] for name, array in inputs.items()}, exits)
    differences = [
        np.abs(np.asarray(result.logits[row]) - whole[exits[row] - 1][row]).max()
        for row in range(count)
    ]
    return float(max(differences))


def compare_precisions(
    float_path: Path, bundle: Bundle, inputs: Inputs, labels: npt.NDArray[np.int64] | None
) -> PrecisionParity:
    """Compare the whole graph of a bundle with the float32 one, both on ONNX Runtime."""
    names = [stage.exit.name for stage in bundle.manifest.stages]
    fixed = not bundle.manifest.compaction.allowed
    in_float = _run_reference(float_path, names, inputs, one_by_one=fixed)
    in_bundle = _run_reference(bundle.file(bundle.manifest.whole), names, inputs, one_by_one=fixed)
    return PrecisionParity(
        compare_logits(names, in_bundle, in_float),
        None if labels is None else _accuracy(in_float, labels),
        None if labels is None else _accuracy(in_bundle, labels),
    )


def golden_outputs(bundle: Bundle, inputs: Inputs) -> Golden:
    """Return inputs and what ONNX Runtime makes of them with the whole graph, in its own types."""
    names = [stage.exit.name for stage in bundle.manifest.stages]
    path = bundle.file(bundle.manifest.whole)
    one_by_one = not bundle.manifest.compaction.allowed
    logits = _run_reference(path, names, inputs, one_by_one=one_by_one)
    outputs = {name: {name: array} for name, array in zip(names, logits, strict=True)}
    return Golden(dict(inputs), outputs)


def _run_reference(
    path: Path, outputs: Sequence[str], inputs: Inputs, *, one_by_one: bool
) -> list[npt.NDArray[Any]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    count = len(next(iter(inputs.values())))
    step = 1 if one_by_one else _CHUNK
    wanted = [value.name for value in session.get_inputs()]
    chunks = []
    for start in range(0, count, step):
        feed = {name: inputs[name][start : start + step] for name in wanted}
        chunks.append(session.run(list(outputs), feed))
    return _stack(chunks)


def _stack(chunks: Sequence[Logits]) -> list[npt.NDArray[Any]]:
    return [np.concatenate(arrays) for arrays in zip(*chunks, strict=True)]


def _accuracy(logits: Logits, labels: npt.NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(float((a.argmax(axis=1) == labels[: len(a)]).mean()) for a in logits)
