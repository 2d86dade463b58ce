"""What a host does for a Jetson: how long it takes, how large it is, and that it builds.

Nothing here ran on a Jetson. The layers are those that TensorRT-RTX plans for SM86, without a GPU.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeexit import demo
from edgeexit.bundle.bundle import Bundle
from edgeexit.compiler import compile_model
from edgeexit.graph.tensorrt.lint import require_buildable
from edgeexit.runtime.build_check import check_build
from tests.benchmarks.models import CNN, DEMO, QUANT_SAMPLES, VIT, Model, source_of
from tests.benchmarks.rows import Effort, Row

TITLE = "Bundles for a Jetson, prepared on a host"
NOTE = (
    "`edgeexit compile --target jetson` and `edgeexit build --check`; nothing of this ran on a "
    "Jetson. *Beyond quantization*: the whole compilation but the time that NNCF takes. *Layers*: "
    "matrix products and convolutions that TensorRT-RTX plans in int8 for SM86, of those that the "
    "recipe expects, in all stages and both optimization profiles; the float16 bundle of the same "
    "model is the control."
)

_QUANTIZING = "quantizing"
_MOST_SECONDS, _MOST_LINT, _MOST_SIZE = 60.0, 1.0, 1.2
_SM = "86"


def run(effort: Effort) -> Iterator[Row]:
    """Yield the rows of each model."""
    for model in (DEMO,) if effort.quick else (VIT, CNN, DEMO):
        with TemporaryDirectory() as folder:
            effort.tell(f"jetson: compiling {model.name} in int8")
            bundle, seconds = compile_for_jetson(model, "int8", Path(folder))
            beyond = sum(seconds.values()) - seconds[_QUANTIZING]
            yield _compile_row(model, beyond, seconds)
            yield _size_row(model, bundle)
            yield _lint_row(model, bundle)
            effort.tell(f"jetson: building {model.name} with TensorRT-RTX")
            yield _layers_row(model, bundle)
            control, _ = compile_for_jetson(model, "fp16", Path(folder))
            yield _control_row(model, control)


def compile_for_jetson(
    model: Model, precision: str, folder: Path
) -> tuple[Bundle, dict[str, float]]:
    """Compile a model; return the bundle and the seconds of each step by its name."""
    times: list[tuple[str, float]] = []
    inputs = {"image": model.random_inputs(QUANT_SAMPLES)}
    data = demo.calibration_path() if model is DEMO else inputs
    bundle = compile_model(
        source_of(model),
        folder / f"{precision}.eex",
        target="jetson",
        precision=precision,
        quant_data=data if precision == "int8" else None,
        data=None if model is DEMO else inputs,
        name=model.name,
        progress=lambda step, _done: times.append((step, time.monotonic())),
    )
    steps = itertools.pairwise(times)
    return bundle, {step: after - start for (step, start), (_, after) in steps}


def _compile_row(model: Model, beyond: float, seconds: dict[str, float]) -> Row:
    longest = ", ".join(f"{step} {time_:.0f} s" for step, time_ in seconds.items() if time_ >= 1)
    return Row(
        f"jetson.{model.name}.compile",
        f"{model.title}: compile in int8, beyond quantization",
        f"{beyond:.0f} s ({longest})",
        {"beyond": beyond, **seconds},
        wanted=f"≤ {_MOST_SECONDS:g} s" if model is VIT else None,
        met=beyond <= _MOST_SECONDS if model is VIT else None,
    )


def _size_row(model: Model, bundle: Bundle) -> Row:
    total = sum(entry.size for entry in bundle.manifest.files)
    weights = next(e.size for e in bundle.manifest.files if e.path.endswith("weights.bin"))
    ratio = total / weights
    return Row(
        f"jetson.{model.name}.size",
        f"{model.title}: size of the bundle ÷ its weights",
        f"{ratio:.2f} ({total / 1e6:.1f} MB, of them weights {weights / 1e6:.1f} MB)",
        {"ratio": ratio, "bytes": total, "weights": weights},
        wanted=f"≤ {_MOST_SIZE:g}" if model is VIT else None,
        met=ratio <= _MOST_SIZE if model is VIT else None,
    )


def _lint_row(model: Model, bundle: Bundle) -> Row:
    start = time.perf_counter()
    warnings = require_buildable(bundle.folder, bundle.manifest)
    seconds = time.perf_counter() - start
    return Row(
        f"jetson.{model.name}.lint",
        f"{model.title}: lint of all graphs, reading them included",
        f"{seconds:.2f} s, {len(warnings)} warnings",
        {"seconds": seconds, "warnings": len(warnings)},
        wanted=f"< {_MOST_LINT:g} s",
        met=seconds < _MOST_LINT,
    )


def _layers_row(model: Model, bundle: Bundle) -> Row:
    report = check_build(bundle, _SM)
    expected = sum(len(graph.expected) for graph in report.graphs)
    missing = sum(len(graph.missing) for graph in report.graphs)
    seconds = sum(graph.built.seconds for graph in report.graphs)
    return Row(
        f"jetson.{model.name}.layers",
        f"{model.title}: int8 layers, {report.engine}",
        f"{expected - missing} of {expected}; built in {seconds:.0f} s",
        {"int8": expected - missing, "expected": expected, "seconds": seconds},
        wanted="all",
        met=missing == 0 and expected > 0,
    )


def _control_row(model: Model, bundle: Bundle) -> Row:
    report = check_build(bundle, _SM)
    layers = [layer for graph in report.graphs for layer in graph.built.layers]
    found = sum(layer.precision == "int8" for layer in layers)
    return Row(
        f"jetson.{model.name}.control",
        f"{model.title}: int8 layers of the float16 bundle",
        f"{found} of {len(layers)}",
        {"int8": found, "layers": len(layers)},
        wanted="none",
        met=found == 0,
    )
