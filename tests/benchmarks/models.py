"""The benchmarked models as bundles, built once a state of the compiler by other processes.

``python -m tests.benchmarks.models vit int8`` builds one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeexit import demo
from edgeexit.bundle.bundle import Bundle
from tests.benchmarks.folders import ROOT, cache_folder

PRECISIONS = ("f32", "bf16", "int8")
QUANT_SAMPLES = 64
"""Random inputs that the quantizer sees: random weights have no better data."""

_COMPILER = ("edgeexit/compiler.py", "edgeexit/graph", "edgeexit/bundle", "edgeexit/parity.py")
_TOOLS = ("numpy", "onnx", "onnx-ir", "nncf", "openvino", "onnxruntime", "torch")


@dataclass(frozen=True)
class Model:
    """A benchmarked model.

    Attributes:
        name: Short name, also of its files.
        title: What the table calls it.
        shape: Shape of one input sample.
    """

    name: str
    title: str
    shape: tuple[int, ...]

    def random_inputs(self, rows: int, seed: int = 0) -> npt.NDArray[Any]:
        """Return ``(rows, *shape)`` random inputs of the model's type."""
        rng = np.random.default_rng(seed)
        if self is DEMO:
            return rng.integers(0, 256, (rows, *self.shape), np.uint8)
        return rng.standard_normal((rows, *self.shape), np.float32)


DEMO = Model("demo", "demo ViT (28 px)", (1, 28, 28))
VIT = Model("vit", "ViT-S/16 (224 px)", (3, 224, 224))
CNN = Model("cnn", "CNN (64 px)", (3, 64, 64))
TINY = Model("tiny", "tiny", (16,))
MODELS = {model.name: model for model in (DEMO, VIT, CNN, TINY)}

Tell = Callable[[str], None]


def open_bundle(model: Model, precision: str, tell: Tell = lambda _: None) -> Bundle:
    """Return a model's bundle for the device ``x86``, built by another process where missing."""
    folder = _bundle_folder(model, precision)
    if _kept_key(folder) != _key(model, precision):
        tell(f"building {model.name} in {precision}")
        command = [sys.executable, "-m", "tests.benchmarks.models", model.name, precision]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return Bundle.open(folder)


def build_bundle(model: Model, precision: str) -> None:
    """Compile a model into the cache, in this process."""
    from edgeexit.compiler import compile_model

    folder = _bundle_folder(model, precision)
    key = _key(model, precision)
    data = {"image": model.random_inputs(QUANT_SAMPLES)}
    compile_model(
        source_of(model),
        folder,
        target="x86",
        precision=precision,
        quant_data=(demo.calibration_path() if model is DEMO else data)
        if precision == "int8"
        else None,
        data=demo.evaluation_path() if model is DEMO else None,
        name=model.name,
    )
    _key_file(folder).write_text(key)


def without_gates(bundle: Bundle) -> Bundle:
    """Return a copy of a bundle whose stages lack their gates, to tell what the gates cost.

    The copy stands in the cache and is not sealed: it is good for measuring alone.
    """
    import onnx

    folder = cache_folder() / "bare" / bundle.folder.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle.folder, folder)
    state = {name for stage in bundle.manifest.stages if stage.gate for name in stage.gate.state}
    stages = tuple(
        dataclasses.replace(
            stage,
            gate=None,
            carried_in=tuple(spec for spec in stage.carried_in if spec.name not in state),
            carried_out=tuple(spec for spec in stage.carried_out if spec.name not in state),
        )
        for stage in bundle.manifest.stages
    )
    for stage in stages:
        graph = onnx.load(str(bundle.file(stage.file)), load_external_data=False)
        _keep(graph.graph, {spec.name for spec in stage.fed}, {s.name for s in stage.produced})
        onnx.save(graph, str(folder / stage.file))
    return Bundle(folder, dataclasses.replace(bundle.manifest, stages=stages), bundle.digest)


def _keep(graph: Any, inputs: set[str], outputs: set[str]) -> None:
    """Cut a graph down to the nodes that the outputs need."""
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    for field, values in (
        ("node", kept[::-1]),
        ("input", [value for value in graph.input if value.name in inputs]),
        ("output", [value for value in graph.output if value.name in outputs]),
        ("initializer", [value for value in graph.initializer if value.name in needed]),
    ):
        graph.ClearField(field)
        getattr(graph, field).extend(values)


def source_of(model: Model) -> Path:
    """Return the model's ONNX file, exported where it is missing or older than its code."""
    from tests.benchmarks import export

    if model is DEMO:
        return demo.model_path()
    path = cache_folder() / f"{model.name}.onnx"
    key = _digest([ROOT / "tests/benchmarks/networks.py", ROOT / "tests/benchmarks/export.py"])
    if _kept_key(path) != key:
        if model is TINY:
            export.write_tiny(path)
        else:
            export.export_network(model.name, path)
        _key_file(path).write_text(key)
    return path


def _bundle_folder(model: Model, precision: str) -> Path:
    return cache_folder() / f"{model.name}-{precision}.eex"


def _key(model: Model, precision: str) -> str:
    """Return what a bundle depends on, in one digest."""
    files = [ROOT / "tests/benchmarks" / name for name in ("networks.py", "export.py")]
    for name in _COMPILER:
        path = ROOT / name
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if model is DEMO:
        files += [demo.model_path(), demo.calibration_path(), demo.evaluation_path()]
    return f"{precision} {_digest(files)}"


def _digest(files: list[Path]) -> str:
    hasher = hashlib.sha256()
    for path in files:
        hasher.update(hashlib.sha256(path.read_bytes()).digest())
    for tool in _TOOLS:
        hasher.update(importlib.metadata.version(tool).encode())
    return hasher.hexdigest()


def _key_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.key")


def _kept_key(path: Path) -> str:
    """Return the key that ``path`` was built with, empty where either is missing."""
    file = _key_file(path)
    return file.read_text() if file.exists() and path.exists() else ""


if __name__ == "__main__":
    build_bundle(MODELS[sys.argv[1]], sys.argv[2])
