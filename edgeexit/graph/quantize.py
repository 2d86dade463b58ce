"""int8 by NNCF on the one graph, before it is cut into stages."""

from __future__ import annotations

import fnmatch
import importlib
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgeexit.errors import InputError, ModelError
from edgeexit.graph.repairs import PRODUCTS, repair_quantization
from edgeexit.graph.telemetry import silent_nncf

Sample = Mapping[str, npt.NDArray[Any]]
"""One batch of inputs by name."""

SUBSET = 300
"""Calibration batches of one sample; NNCF's own default."""

_INLINE_LIMIT = 1 << 30
"""Bytes of weights above which NNCF reads them from a file: a protobuf message ends at 2 GiB."""


@dataclass(frozen=True)
class QuantizationReport:
    """What of a model runs in int8.

    Attributes:
        products: Matrix products and convolutions.
        int8: Those of them whose two operands are int8.
        float_nodes: Names of the others.
    """

    products: int
    int8: int
    float_nodes: tuple[str, ...]


def quantize_int8(
    model: ir.Model,
    samples: Iterable[Sample],
    *,
    keep_float: Sequence[str] = (),
    transformer: bool | None = None,
    subset: int = SUBSET,
    workdir: Path | None = None,
) -> ir.Model:
    """Quantize a normalized model to int8 with QuantizeLinear and DequantizeLinear pairs.

    Weights per output channel, activations per tensor, int8 and zero point 0 throughout; biases
    corrected. Names of inputs, exits and nodes survive.

    Args:
        model: The multi-exit model; it is not changed.
        samples: Batches of inputs by name, ``(n, ...)`` in the model's dtypes; the first
            ``subset`` are used.
        keep_float: Patterns (regular expressions or globs, on the whole name) of nodes that stay
            float; an exit's name stands for the last matrix product before it.
        transformer: Whether to protect what is fragile in attention; found out if None.
        subset: Number of batches used.
        workdir: A folder for the weights of a large model while NNCF runs.

    Returns:
        A new model.

    Raises:
        InputError: There are no samples, or a pattern matches nothing.
        ModelError: NNCF is missing or fails.
    """
    batches = _batches(model, samples, subset)
    ignored = nodes_kept_float(model.graph, keep_float)
    attention = is_transformer(model.graph) if transformer is None else transformer
    with TemporaryDirectory(dir=workdir) as folder:
        proto, external = _to_proto(model, Path(folder))
        quantized = _run_nncf(proto, external, batches, ignored, attention)
    result = ir.serde.deserialize_model(quantized)
    repair_quantization(result)
    _check_names(model.graph, result.graph)
    return result


def count_int8(graph: ir.Graph) -> QuantizationReport:
    """Return how many matrix products and convolutions of a graph read int8 on both sides."""
    products = [node for node in graph if node.op_type in PRODUCTS]
    floats = tuple(str(node.name) for node in products if not _reads_int8(node))
    return QuantizationReport(len(products), len(products) - len(floats), floats)


def _reads_int8(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs[:2] if value is not None]
    return all(p is not None and p.op_type == "DequantizeLinear" for p in producers)


def is_transformer(graph: ir.Graph) -> bool:
    """Tell whether a graph attends: a softmax feeds a matrix product, or there is an Attention."""
    for node in graph:
        if node.op_type == "Attention":
            return True
        if node.op_type == "Softmax":
            ahead = [user for user, _ in node.outputs[0].uses()]
            ahead += [user for step in ahead for out in step.outputs for user, _ in out.uses()]
            if any(user.op_type in ("MatMul", "Einsum") for user in ahead):
                return True
    return False


def nodes_kept_float(graph: ir.Graph, patterns: Sequence[str]) -> list[str]:
    """Return the names of the nodes that patterns keep in float.

    Raises:
        InputError: A pattern matches no node and no exit.
    """
    heads = {str(value.name): _last_product(value) for value in graph.outputs}
    names = [str(node.name) for node in graph]
    kept: list[str] = []
    for pattern in patterns:
        matched = [name for name in names if _matches(pattern, name)]
        matched += [head for exit_, head in heads.items() if head and _matches(pattern, exit_)]
        if not matched:
            raise InputError(
                f"--keep-float {pattern!r} matches no node and no exit.",
                hint=f"exits are {', '.join(heads)}; node names look like {names[0]!r}.",
                code="input.keep-float",
            )
        kept += matched
    return sorted(set(kept))


def _matches(pattern: str, name: str) -> bool:
    if fnmatch.fnmatchcase(name, pattern):
        return True
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _last_product(value: ir.Value) -> str | None:
    """Return the name of the nearest matrix product or convolution before an exit."""
    pending, seen = [value], {value}
    while pending:
        node = pending.pop(0).producer()
        if node is None:
            continue
        if node.op_type in PRODUCTS:
            return node.name
        ahead = [v for v in node.inputs if v is not None and v not in seen]
        seen.update(ahead)
        pending.extend(ahead)
    return None


def _batches(model: ir.Model, samples: Iterable[Sample], subset: int) -> list[Sample]:
    """Return the first batches, of just the model's inputs."""
    names = [str(value.name) for value in model.graph.inputs]
    batches = []
    for sample in itertools.islice(samples, subset):
        missing = [name for name in names if name not in sample]
        if missing:
            raise InputError(
                f"the quantization data have no {missing[0]!r}; they have {', '.join(sample)}.",
                hint=f"give an array for each input of the model: {', '.join(names)}.",
                code="input.name",
            )
        batches.append({name: np.ascontiguousarray(sample[name]) for name in names})
    if not batches:
        raise InputError(
            "there are no quantization data.",
            hint=f"give some {SUBSET} typical inputs with --quant-data.",
            code="input.empty",
        )
    return batches


def _to_proto(model: ir.Model, folder: Path) -> tuple[onnx.ModelProto, Path | None]:
    """Return the model as NNCF takes it, and the folder of its weights if they are in a file."""
    weights = [v.const_value for v in model.graph.initializers.values()]
    size = sum(tensor.nbytes for tensor in weights if tensor is not None)
    if size > _INLINE_LIMIT:
        path = folder / "model.onnx"
        ir.save(model, path, external_data="weights.bin")
        return onnx.load(path, load_external_data=False), folder
    proto = ir.serde.serialize_model(model)
    for value, tensor in zip(proto.graph.initializer, weights, strict=True):
        if isinstance(tensor, ir.ExternalTensor):
            value.ClearField("external_data")
            value.data_location = onnx.TensorProto.DEFAULT
            value.raw_data = tensor.tobytes()
    return proto, None


def _run_nncf(
    proto: onnx.ModelProto,
    external: Path | None,
    batches: Sequence[Sample],
    ignored: Sequence[str],
    transformer: bool,
) -> onnx.ModelProto:
    """Run NNCF's post-training quantization: symmetric, weights left to our own repairs."""
    with silent_nncf() as nncf, _quiet():
        backend: dict[str, Any] = {"compress_weights": False}
        if external is not None:
            backend["external_data_dir"] = str(external.resolve())
        quantization = importlib.import_module("nncf.quantization.advanced_parameters")
        try:
            quantized: onnx.ModelProto = nncf.quantize(
                proto,
                nncf.Dataset(batches),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
                subset_size=len(batches),
                ignored_scope=nncf.IgnoredScope(names=list(ignored), validate=False),
                advanced_parameters=quantization.AdvancedQuantizationParameters(
                    backend_params=backend
                ),
            )
        except Exception as error:
            raise ModelError(
                f"NNCF cannot quantize the model: {type(error).__name__}: {error}.",
                hint="check that the quantization data fit the model, or keep the node that it "
                "names in float with --keep-float.",
                code="model.quantize",
            ) from error
    return quantized


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's progress bars and notes off stdout, which belongs to results."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _check_names(before: ir.Graph, after: ir.Graph) -> None:
    """Make sure that inputs and exits kept their names and order.

    Raises:
        ModelError: They did not.
    """
    for kind in ("inputs", "outputs"):
        old = [value.name for value in getattr(before, kind)]
        new = [value.name for value in getattr(after, kind)]
        if old != new:
            raise ModelError(
                f"the quantizer renamed the {kind} {old} to {new}.",
                hint="report this model as a bug of edgeexit.",
                code="model.quantize",
            )

