"""Seconds and memory until the first answer: stages against the static model in one piece."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.benchmarks.models import DEMO, VIT, Model, open_bundle
from tests.benchmarks.processes import ask
from tests.benchmarks.rows import Effort, Row

TITLE = "Start"
NOTE = (
    "From an imported edgeexit to the first answer at batch 1, in fresh processes, in turn; "
    "medians and (minima). Memory is the resident set added. *Staged* verifies the bundle's "
    "hashes and compiles every stage; *static* verifies too, and compiles one graph."
)

_KINDS = ("staged", "static")
_PROGRAM = """
import json, sys, time
import numpy, psutil
from edgeexit.bundle.bundle import Bundle
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.whole import WholeModel
path, device, kind, shape, dtype = sys.argv[1:]
sample = numpy.zeros((1, *json.loads(shape)), dtype)
if device == "cpu":
    import onnxruntime
else:
    import openvino
process = psutil.Process()
before, start = process.memory_info().rss, time.perf_counter()
if kind == "staged":
    model = Runtime(path, target=device, exits=False)
else:
    bundle = Bundle.open(path)
    from edgeexit.runtime.machine import Machine
    model = WholeModel.of_bundle(bundle, Machine.of(bundle, device), batch=1)
model(sample)
seconds = time.perf_counter() - start
print(json.dumps([seconds, (process.memory_info().rss - before) / 2**20]))
"""


def run(effort: Effort) -> Iterator[Row]:
    """Yield start time and memory of each model and configuration."""
    for model in (VIT, DEMO):
        for device, precision in (("x86", "f32"), ("x86", "int8"), ("cpu", "f32")):
            effort.tell(f"start: {model.name} {device} {precision}")
            yield _row(model, device, precision, effort)


def _row(model: Model, device: str, precision: str, effort: Effort) -> Row:
    bundle = open_bundle(model, precision, effort.tell)
    sample = model.random_inputs(1)
    found: dict[str, list[list[float]]] = {kind: [] for kind in _KINDS}
    for number in range(1 if effort.quick else 5):
        for kind in _KINDS if number % 2 else _KINDS[::-1]:
            shape = str(list(model.shape))
            arguments = (str(bundle.folder), device, kind, shape, str(sample.dtype))
            found[kind].append(ask(_PROGRAM, *arguments))
    texts, values = [], {}
    for kind in _KINDS:
        seconds, mebibytes = np.array(found[kind]).T
        values[f"{kind}_s"] = float(np.median(seconds))
        values[f"{kind}_mib"] = float(np.median(mebibytes))
        texts.append(
            f"{kind} {np.median(seconds):.2f} ({seconds.min():.2f}) s, "
            f"{np.median(mebibytes):.0f} ({mebibytes.min():.0f}) MiB"
        )
    return Row(
        f"start.{model.name}.{device}.{precision}",
        f"{model.title}, {device} {precision}",
        "; ".join(texts),
        values,
    )
