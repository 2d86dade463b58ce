"""What a manifest must be beyond well-typed: numbers, names, shapes and files that agree."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgeexit.bundle.jsonfile import damaged
from edgeexit.bundle.paths import EXITS, MANIFEST, clash, path_fault
from edgeexit.bundle.specs import (
    BATCH,
    FileEntry,
    GateSpec,
    Manifest,
    Preprocessing,
    StageSpec,
    TensorSpec,
    dim_symbol,
    resolve_dim,
)

PRECISIONS = ("f32", "bf16", "fp16", "int8")

_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES = ("bool", *_INTEGERS, "float16", "bfloat16", "float32", "float64")
_MAX_RANK = 16
_MAX_STAGES = 256
_MAX_NAME = 1024
_MAX_NUMBER = 1 << 62
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_manifest(manifest: Manifest) -> None:
    """Check that a decoded manifest agrees with itself.

    Raises:
        BundleError: The first contradiction, with the field it is in.
    """
    _check_head(manifest)
    _check_files(manifest.files)
    for field, path in (("static", manifest.static), ("whole", manifest.whole)):
        _check_sealed(path, manifest.files, field)
    _check_tensors(manifest.inputs, "inputs")
    _check_stages(manifest)
    _check_classes(manifest)
    if manifest.preprocessing:
        _check_preprocessing(manifest.preprocessing, manifest.inputs)


def _require(holds: bool, field: str, fault: str) -> None:
    if not holds:
        raise damaged(f"{MANIFEST}: {field}", fault, code="bundle.manifest")


def _check_name(name: str, field: str) -> None:
    _require(0 < len(name) <= _MAX_NAME, field, f"is empty or longer than {_MAX_NAME} characters.")


def _check_unique(names: Iterable[str], field: str) -> None:
    seen: set[str] = set()
    for name in names:
        _check_name(name, field)
        _require(name not in seen, field, f"{name!r} appears twice.")
        seen.add(name)


def _check_number(number: int, least: int, field: str) -> None:
    inside = least <= number <= _MAX_NUMBER
    _require(inside, field, f"is {number}; it must be between {least} and 2^62.")


def _check_head(manifest: Manifest) -> None:
    _check_name(manifest.name, "name")
    _check_name(manifest.device, "device")
    precisions = ", ".join(PRECISIONS)
    fault = f"is {manifest.precision!r}; it must be one of {precisions}."
    _require(manifest.precision in PRECISIONS, "precision", fault)
    fault = f"is {manifest.decision_unit!r}; this format knows 'sample'."
    _require(manifest.decision_unit == "sample", "decision_unit", fault)
    _check_number(manifest.static_flops, 1, "static_flops")
    _check_number(manifest.static_params, 0, "static_params")
    _require(bool(manifest.inputs), "inputs", "is empty; a model has at least one input.")


def _check_files(files: tuple[FileEntry, ...]) -> None:
    paths = [entry.path for entry in files]
    for index, entry in enumerate(files):
        field = f"files[{index}]"
        fault = path_fault(entry.path)
        if fault:
            where = f"{MANIFEST}: {field}.path"
            raise damaged(where, f"{ascii(entry.path)[:210]} {fault}.", code="bundle.path")
        outside = entry.path.lower() in (MANIFEST, EXITS)
        _require(not outside, f"{field}.path", f"{entry.path} lies outside the seal.")
        _check_number(entry.size, 0, f"{field}.size")
        _require(
            _SHA256.fullmatch(entry.sha256) is not None,
            f"{field}.sha256",
            "is no SHA-256: 64 digits in lower-case hex.",
        )
    if pair := clash(paths):
        fault = f"{pair[0]} and {pair[1]} are one file where case does not count."
        raise damaged(f"{MANIFEST}: files", fault, code="bundle.path")
    _require(paths == sorted(paths), "files", "is not sorted by path.")


def _check_sealed(path: str, files: tuple[FileEntry, ...], field: str) -> None:
    sealed = any(entry.path == path for entry in files)
    _require(sealed, field, f"{ascii(path)[:210]} is not among the sealed files.")


def _check_tensors(tensors: tuple[TensorSpec, ...], field: str) -> None:
    _check_unique((tensor.name for tensor in tensors), field)
    for index, tensor in enumerate(tensors):
        _check_tensor(tensor, f"{field}[{index}]")


def _check_tensor(tensor: TensorSpec, field: str) -> None:
    fault = f"is {tensor.dtype[:60]!r}; it must be one of {', '.join(_DTYPES)}."
    _require(tensor.dtype in _DTYPES, f"{field}.dtype", fault)
    rank = len(tensor.shape)
    _require(rank <= _MAX_RANK, f"{field}.shape", f"has rank {rank}; at most {_MAX_RANK}.")
    for axis, dim in enumerate(tensor.shape):
        if isinstance(dim, int):
            _check_number(dim, 1, f"{field}.shape[{axis}]")
        else:
            fault = f"{dim[:60]!r} is no dimension such as batch, 49*batch or seq+1."
            known = len(dim) <= 100 and dim_symbol(dim) is not None
            _require(known, f"{field}.shape[{axis}]", fault)
    if tensor.batch_axis is None:
        fault = f"is {tensor.rows_per_sample}; a tensor without a batch axis has 0."
        _require(tensor.rows_per_sample == 0, f"{field}.rows_per_sample", fault)
        return
    fault = f"is {tensor.batch_axis}; the tensor has axes 0 to {rank - 1}."
    _require(0 <= tensor.batch_axis < rank, f"{field}.batch_axis", fault)
    _check_number(tensor.rows_per_sample, 1, f"{field}.rows_per_sample")
    dim = tensor.shape[tensor.batch_axis]
    if dim_symbol(dim) == BATCH:
        rows = resolve_dim(dim, {BATCH: 1})
        fault = f"is {tensor.rows_per_sample}; the batch dimension {dim} has {rows}."
        _require(rows == tensor.rows_per_sample, f"{field}.rows_per_sample", fault)


def _check_stages(manifest: Manifest) -> None:
    stages = manifest.stages
    fault = f"has {len(stages)}; a bundle has 1 to {_MAX_STAGES}."
    _require(1 <= len(stages) <= _MAX_STAGES, "stages", fault)
    _check_unique((stage.exit.name for stage in stages), "stages: exit names")
    carried: dict[str, TensorSpec] = {}
    for index, stage in enumerate(stages):
        field = f"stages[{index}]"
        fault = f"is {stage.number}; stages are numbered from 1, so this is {index + 1}."
        _require(stage.number == index + 1, f"{field}.number", fault)
        _check_sealed(stage.file, manifest.files, f"{field}.file")
        _check_stage(stage, manifest.inputs, carried, field)
        last = index == len(stages) - 1
        fault = "must be null: the last stage has no gate." if last else "is missing."
        _require((stage.gate is None) == last, f"{field}.gate", fault)
    _check_gates(tuple(stage.gate for stage in stages if stage.gate))
    read = {tensor.name for stage in stages for tensor in stage.inputs}
    for tensor in manifest.inputs:
        _require(tensor.name in read, "inputs", f"{tensor.name!r} is read by no stage.")


def _check_stage(
    stage: StageSpec,
    inputs: tuple[TensorSpec, ...],
    carried: dict[str, TensorSpec],
    field: str,
) -> None:
    _require(bool(stage.inputs or stage.carried_in), f"{field}.inputs", "nothing feeds the stage.")
    for tensors, part in (
        (stage.inputs + stage.carried_in, "inputs and carried_in"),
        (stage.carried_out, "carried_out"),
        (stage.exit.outputs, "exit.outputs"),
    ):
        _check_tensors(tensors, f"{field}.{part}")
    _require(bool(stage.exit.outputs), f"{field}.exit.outputs", "is empty; the logits come first.")
    for tensor in stage.inputs:
        fault = f"{tensor.name!r} is not among the model's inputs as it stands here."
        _require(tensor in inputs, f"{field}.inputs", fault)
    for tensor in stage.carried_in:
        fault = f"{tensor.name!r} is not produced by an earlier stage as it stands here."
        _require(carried.get(tensor.name) == tensor, f"{field}.carried_in", fault)
    _check_number(stage.flops, 1, f"{field}.flops")
    _check_number(stage.params, 0, f"{field}.params")
    if stage.gate:
        _check_gate(stage, stage.gate, f"{field}.gate")
    # Not the score and the features: every stage may give them the same names.
    for tensor in dict.fromkeys(stage.carried_out + stage.exit.outputs):
        taken = tensor.name in carried or any(each.name == tensor.name for each in inputs)
        _require(not taken, field, f"{tensor.name!r} is produced by two stages or is an input.")
        carried[tensor.name] = tensor


def _check_gate(stage: StageSpec, gate: GateSpec, field: str) -> None:
    _check_name(gate.name, f"{field}.name")
    _check_number(gate.version, 1, f"{field}.version")
    _check_number(gate.flops, 0, f"{field}.flops")
    wanted = TensorSpec(gate.params.name, "float32", (len(gate.default_params),), None, 0)
    fault = f"is {gate.params}; {len(gate.default_params)} default parameters need {wanted}."
    _require(gate.params == wanted, f"{field}.params", fault)
    _check_unique(gate.features, f"{field}.features")
    _check_unique((tensor.name for tensor in stage.fed), f"{field}.params")
    carried = {tensor.name for tensor in stage.carried_out}
    for name in gate.state:
        _require(name in carried, f"{field}.state", f"{name!r} is not among carried_out.")
    outputs = [tensor.name for tensor in stage.carried_out + stage.exit.outputs]
    for name in (gate.score, gate.features_output):
        _check_name(name, field)
    both = {gate.score, gate.features_output}
    distinct = len(both) == 2 and not both.intersection(outputs)
    _require(distinct, field, "score and features_output must be two outputs of their own.")


def _check_gates(gates: tuple[GateSpec, ...]) -> None:
    kinds = {(gate.name, gate.version) for gate in gates}
    _require(len(kinds) <= 1, "stages", f"have gates of {len(kinds)} kinds; all must be of one.")


def _check_classes(manifest: Manifest) -> None:
    classes = manifest.classes
    if classes is None:
        return
    logits = manifest.stages[-1].exit.outputs[0]
    count = logits.shape[-1] if len(logits.shape) == 2 else len(classes)
    fits = len(classes) == count or isinstance(count, str)
    _require(fits, "classes", f"has {len(classes)} names; the last exit has {count} classes.")


def _check_preprocessing(preprocessing: Preprocessing, inputs: tuple[TensorSpec, ...]) -> None:
    fed = [tensor for tensor in inputs if tensor.name == preprocessing.input]
    image = bool(fed) and fed[0].dtype == "uint8" and len(fed[0].shape) == 4
    fault = f"{preprocessing.input[:60]!r} is no uint8 input of rank 4."
    _require(image, "preprocessing.input", fault)
    sizes = preprocessing.size or (1, 1)
    _require(min(sizes) >= 1, "preprocessing.size", f"is {sizes}; both must be positive.")
    scale = preprocessing.scale
    _require(scale > 0, "preprocessing.scale", f"is {scale}; it must be positive.")
    agree = len(preprocessing.mean) == len(preprocessing.std) > 0
    _require(agree, "preprocessing.std", "must have a value a channel, as many as mean.")
    positive = all(deviation > 0 for deviation in preprocessing.std)
    _require(positive, "preprocessing.std", "holds a value that is not positive.")
