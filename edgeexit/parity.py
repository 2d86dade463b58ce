"""Parity: do the stages answer as the whole model does, and does int8 answer as float?

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
from edgeexit.errors import BundleError, TargetError
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
from edgeexit.samples import random_inputs
from edgeexit.targets.device import device_names

Inputs = Mapping[str, npt.NDArray[Any]]
Logits = Sequence[npt.NDArray[Any]]

_CHUNK = 64
"""Samples in a batch of the reference run."""

_SINGLES = 64
"""Samples that are compared one by one."""

_RANDOM = 16
"""Random samples that are compared one by one."""

TOLERANCES = {"f32": 1e-3, "bf16": 0.05, "fp16": 0.05, "int8": 0.1}
"""Largest difference of golden logits that ``verify`` accepts, by precision, as a fraction of the
largest logit: engines order float sums differently, and one int8 step may tip."""


@dataclass(frozen=True)
class ExitParity:
    """How one exit differs between two ways of running it.

    Attributes:
        exit: The exit's name.
        max_abs_difference: Largest difference of a logit.
        flips: Samples whose top class differs.
        identical: Whether all logits are equal bit for bit.
    """

    exit: str
    max_abs_difference: float
    flips: int
    identical: bool


@dataclass(frozen=True)
class EngineParity:
    """Stages against the whole graph on one device's engine, in one precision.

    Attributes:
        device: The device file that was used.
        engine: The engine and its version.
        batch_1: Exits at batch 1, engines compiled for it.
        random: The same on random inputs.
        batches: Exits in batches, where the model allows them; in the shape mode that the
            device file gives to batches.
        golden: The stages against the golden outputs, which ONNX Runtime gave.
        agrees: Whether they, and ``exits_taken``, differ by no more than :data:`TOLERANCES`
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
    """int8 against float, exit by exit.

    Attributes:
        exits: The differences.
        float_accuracy: Accuracy of each exit in float, or None without labels.
        int8_accuracy: Accuracy of each exit in int8, or None without labels.
    """

    exits: tuple[ExitParity, ...]
    float_accuracy: tuple[float, ...] | None
    int8_accuracy: tuple[float, ...] | None


@dataclass(frozen=True)
class ParityReport:
    """What ``parity.json`` holds.

    Attributes:
        samples: Number of inputs.
        inputs: ``real`` or ``random``.
        engines: One entry a device whose engine is installed and has the precision.
        skipped: Why other devices were left out, by name.
        accuracy: Accuracy of each exit of the stages on the first engine, or None without labels.
        int8_vs_float: Where the bundle is int8.
    """

    samples: int
    inputs: str
    engines: tuple[EngineParity, ...]
    skipped: Mapping[str, str]
    accuracy: tuple[float, ...] | None
    int8_vs_float: PrecisionParity | None = None

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
        others: Whether the other built-in devices follow, as far as they can.

    Raises:
        TargetError: An engine is installed and dies of the model or refuses it on the device
            that must run it; or no engine is installed.
    """
    first = bundle.manifest.device if device is None else device
    engines: list[EngineParity] = []
    skipped: dict[str, str] = {}
    accuracy: tuple[float, ...] | None = None
    for name in dict.fromkeys((first, *(device_names() if others else ()))):
        try:
            Machine.of(bundle.manifest, name)
        except TargetError as error:
            skipped[str(name)] = error.message
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
        golden, allowed = _compare_golden(runtime)
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


def compare_logits(names: Sequence[str], left: Logits, right: Logits) -> tuple[ExitParity, ...]:
    """Compare two lists of K arrays ``(n, C)``, exit by exit."""
    return tuple(
        ExitParity(
            name,
            float(np.abs(a.astype(np.float64) - b).max()),
            int((a.argmax(axis=1) != b.argmax(axis=1)).sum()),
            bool(np.array_equal(a, b)),
        )
        for name, a, b in zip(names, left, right, strict=True)
    )


def compare_precisions(
    float_path: Path, bundle: Bundle, inputs: Inputs, labels: npt.NDArray[np.int64] | None
) -> PrecisionParity:
    """Compare the int8 whole graph of a bundle with the float one, both on ONNX Runtime."""
    names = [stage.exit.name for stage in bundle.manifest.stages]
    fixed = not bundle.manifest.compaction.allowed
    in_float = _run_reference(float_path, names, inputs, one_by_one=fixed)
    in_int8 = _run_reference(bundle.file(bundle.manifest.whole), names, inputs, one_by_one=fixed)
    return PrecisionParity(
        compare_logits(names, in_int8, in_float),
        None if labels is None else _accuracy(in_float, labels),
        None if labels is None else _accuracy(in_int8, labels),
    )


def golden_outputs(bundle: Bundle, inputs: Inputs) -> Golden:
    """Return inputs and what ONNX Runtime makes of them with the whole graph, in its own types."""
    names = [stage.exit.name for stage in bundle.manifest.stages]
    path = bundle.file(bundle.manifest.whole)
    one_by_one = not bundle.manifest.compaction.allowed
    logits = _run_reference(path, names, inputs, one_by_one=one_by_one)
    outputs = {name: {name: array} for name, array in zip(names, logits, strict=True)}
    return Golden(dict(inputs), outputs)


def check_golden(runtime: Runtime) -> tuple[ExitParity, ...]:
    """Compare a runtime's answers with the bundle's golden outputs.

    Raises:
        BundleError: They differ by more than :data:`TOLERANCES` allows.
    """
    golden, allowed = _compare_golden(runtime)
    for found in golden:
        # Written so that NaN fails too.
        if not found.max_abs_difference <= allowed[found.exit]:
            raise BundleError(
                f"exit {found.exit!r} differs from its golden output by "
                f"{found.max_abs_difference:.3g}, more than {allowed[found.exit]:.3g}: "
                f"{runtime.machine.info.engine} computes this model wrongly here.",
                hint="compile in another --precision or for another --target, and report this.",
                code="bundle.golden",
            )
    return golden


def _compare_golden(runtime: Runtime) -> tuple[tuple[ExitParity, ...], dict[str, float]]:
    """Return how all exits differ from the golden outputs, and what is allowed, by exit."""
    golden = runtime.bundle.golden()
    names = [stage.exit.name for stage in runtime.bundle.manifest.stages]
    expected = [next(iter(golden.outputs[name].values())) for name in names]
    share = TOLERANCES[runtime.bundle.manifest.precision]
    allowed = {
        name: share * float(np.abs(logits).max())
        for name, logits in zip(names, expected, strict=True)
    }
    answers = runtime.all_exits(dict(golden.inputs)).logits
    return compare_logits(names, answers, expected), allowed


def _run_reference(
    path: Path, outputs: Sequence[str], inputs: Inputs, *, one_by_one: bool
) -> list[npt.NDArray[Any]]:
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
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
