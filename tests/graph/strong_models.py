"""Multi-exit networks in float32 and int8, their inputs, and what both say: for tests of fp16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

from edgeexit.demo import __file__ as demo_file
from edgeexit.dmpo import export
from edgeexit.graph.export import load_model
from edgeexit.graph.normalize import normalize
from edgeexit.graph.quantize import quantize_int8
from tests.dmpo import tiny

Arrays = dict[str, npt.NDArray[Any]]
DEMO = Path(demo_file).parent

FLOAT_TOLERANCE = 0.01
"""Of the logits' spread (root mean square). Rounding to 11 bits moves a value by 2^-12 at most and
2^-13 as a rule; a few hundred of them in a row, independent, add up to some twenty times that:
0.3 %. The untrained DMPO network, whose logits hardly differ, is the worst with 0.28 %; 0.03 % is
usual."""


@dataclass(frozen=True)
class Network:
    """A network and its inputs.

    Attributes:
        load: Makes the normalized float32 model anew.
        inputs: 140 samples; the first 16 for calibration.
    """

    load: Callable[[], ir.Model]
    inputs: Arrays

    def batches(self, count: int) -> list[Arrays]:
        """Return the first samples as batches of one."""
        return [{n: a[i : i + 1] for n, a in self.inputs.items()} for i in range(count)]

    @property
    def held_out(self) -> Arrays:
        return {name: array[16:] for name, array in self.inputs.items()}

    def model(self, precision: str) -> ir.Model:
        model = self.load()
        return model if precision == "f32" else quantize_int8(model, self.batches(16))


def network(name: str, folder: Path) -> Network:
    """Return one of ``demo``, ``dmpo`` or a network of ``tests.architectures``."""
    if name == "demo":
        images = np.load(DEMO / "fashion_test.npz")["image"][:140]
        path = DEMO / "fashion_vit.onnx"
        return Network(lambda: _from_file(path, folder), {"image": images})
    if name == "dmpo":
        path = folder / "dmpo.onnx"
        merged = export.merge(export.on_cpu(tiny.model("small-vit")))
        export.export_model(merged, tiny.inputs("small-vit", 1), path)
        return Network(lambda: _from_file(path, folder), tiny.inputs("small-vit", 140, seed=3))
    inputs, shape = _architecture(name)
    source = f"tests.architectures:{name}"
    few = {key: array[:2] for key, array in inputs.items()}
    return Network(
        lambda: normalize(load_model(source, workdir=folder, input_shape=shape, samples=few)),
        inputs,
    )


def _from_file(path: Path, folder: Path) -> ir.Model:
    return normalize(load_model(path, workdir=folder))


def _architecture(name: str) -> tuple[Arrays, Any]:
    random = np.random.default_rng(0)
    if name == "masked_text":
        length = random.integers(1, 11, (140, 1))
        mask = (np.arange(10)[None] < length).astype(np.int64)
        shape = {"ids": ("batch", "length"), "mask": ("batch", "length")}
        return {"ids": random.integers(0, 40, (140, 10)), "mask": mask}, shape
    key, *sizes = {
        "multi_scale": ("image", 3, 16, 16),
        "two_branches": ("image", 1, 16, 16),
        "windows": ("tokens", 16, 12),
    }[name]
    array = random.standard_normal((140, *sizes)).astype(np.float32)
    return {str(key): array}, ("batch", *sizes)


def answers(model: ir.Model, inputs: Arrays) -> list[npt.NDArray[Any]]:
    """Return the logits of every exit, computed by ONNX Runtime without fused operations."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = ir.serde.serialize_model(model).SerializeToString()
    session = ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    logits: list[npt.NDArray[Any]] = session.run(None, inputs)
    return logits


def rounded_answers(model: ir.Model, inputs: Arrays) -> list[npt.NDArray[Any]]:
    """Return the logits of every exit, computed by ONNX's reference with NumPy.

    Unlike ONNX Runtime it rounds to float16 behind every node, and after every step inside most.
    """
    evaluator = ReferenceEvaluator(ir.serde.serialize_model(model))
    with np.errstate(all="ignore"):
        logits: Any = evaluator.run(None, inputs)
    return list(logits)


def rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))
