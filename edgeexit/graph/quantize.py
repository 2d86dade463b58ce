"""int8 by NNCF on the one graph, before it is cut into stages."""

from __future__ import annotations

import importlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgeexit.errors import InputError, ModelError
from edgeexit.graph.quantize_scope import is_transformer, nodes_kept_float
from edgeexit.graph.repairs import repair_quantization
from edgeexit.graph.telemetry import silent_nncf

Sample = Mapping[str, npt.NDArray[Any]]
"""One batch of inputs by name."""

SUBSET = 300
"""Calibration batches of one sample; NNCF's own default."""

_INLINE_LIMIT = 1 << 30
"""Bytes of weights above which NNCF reads them from a file: a protobuf message ends at 2 GiB."""


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


def _batches(model: ir.Model, samples: Iterable[Sample], subset: int) -> list[Sample]:
    """Return the first batches, of just the model's inputs."""
    names = [str(value.name) for value in model.graph.inputs]
    batches: list[Sample] = []
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
        # NNCF would scale the inputs of depthwise convolutions per channel.
        quantization = importlib.import_module("nncf.quantization.advanced_parameters")
        per_tensor = quantization.QuantizationParameters(per_channel=False)
        try:
            quantized: onnx.ModelProto = nncf.quantize(
                proto,
                nncf.Dataset(batches),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
                subset_size=len(batches),
                ignored_scope=nncf.IgnoredScope(names=list(ignored), validate=False),
                advanced_parameters=quantization.AdvancedQuantizationParameters(
                    activations_quantization_params=per_tensor, backend_params=backend
                ),
            )
        except (MemoryError, OSError):
            raise
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
