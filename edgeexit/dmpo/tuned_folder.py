"""Write a tuned folder: merged, exported, compared, sealed, and put in place in one step."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors.torch import save

from edgeexit.bundle.atomic import flush, writing
from edgeexit.bundle.integrity import file_entry
from edgeexit.bundle.swap import lock_path, staging_prefix, swap_in
from edgeexit.dmpo.config import TuneConfig
from edgeexit.dmpo.data.dataset import TOKENS, LabelledSet, TuneData, specs_of
from edgeexit.dmpo.data.tokens import load_tokenizer
from edgeexit.dmpo.export import (
    compare,
    exit_names,
    export_model,
    held_out,
    merge,
    model_inputs,
    on_cpu,
    onnx_logits,
    torch_logits,
)
from edgeexit.dmpo.families.source import source_folder
from edgeexit.dmpo.model import MultiExitModel
from edgeexit.errors import BundleError, ModelError
from edgeexit.tuned import (
    CALIBRATION,
    MODEL,
    SCHEMA,
    TOKENIZER,
    TUNED,
    WEIGHTS,
    TunedFolder,
    TunedRecord,
    is_tuned,
    record_bytes,
)
from edgeexit.version import __version__

_TOOLS = ("torch", "transformers", "peft", "onnxscript", "onnx", "onnxruntime")


def write_tuned(
    model: MultiExitModel,
    config: TuneConfig,
    data: TuneData,
    report: Mapping[str, Any],
    folder: Path,
) -> TunedFolder:
    """Write a tuned model as a folder that ``edgeexit compile`` takes.

    Args:
        model: The tuned model; it stays as it is, adapters and all.
        config: What it was tuned with.
        data: Its data; what was kept from training shows that the export is right.
        report: How the tuning went: JSON values, numbers finite.
        folder: Where; a tuned folder that is there is replaced in one step.

    Returns:
        The folder, read back and checked.

    Raises:
        ModelError: The model cannot be exported, or its export answers otherwise.
        InputError: The data lacks an input of the backbone.
        BundleError: ``folder`` exists and is no tuned folder, or the report cannot be written.
        ResourceError: The disk is full or read-only; what was there is unchanged.
    """
    output = Path(os.path.realpath(folder))
    plain = on_cpu(model)
    samples, kept = held_out(data)
    inputs = model_inputs(plain, samples.inputs)
    reference = torch_logits(plain, inputs)
    merge(plain)
    with _staged(output) as staged:
        export_model(plain, inputs, staged / MODEL)
        parity = compare(reference, onnx_logits(staged / MODEL, inputs), held_out=kept)
        weights = {name: each.contiguous() for name, each in plain.state_dict().items()}
        (staged / WEIGHTS).write_bytes(save(weights))
        _save_calibration(plain, data, staged / CALIBRATION)
        if TOKENS in inputs:
            _write_tokenizer(config, staged / TOKENIZER)
        record = TunedRecord(
            schema=SCHEMA,
            name=config.name,
            method=config.objective.method,
            classes=data.classes,
            inputs=specs_of(inputs),
            exits=exit_names(plain),
            after=plain.after,
            versions=_versions(),
            parity=parity,
            files=tuple(file_entry(staged, path.name) for path in sorted(staged.iterdir())),
        )
        (staged / TUNED).write_bytes(record_bytes(record, dataclasses.asdict(config), report))
    return TunedFolder.open(output)


def check_output(folder: Path) -> None:
    """Check that a tuned folder may be written there, before hours are spent on tuning.

    Raises:
        BundleError: Something else is there.
    """
    taken = folder.is_dir() and (is_tuned(folder) or not any(folder.iterdir()))
    if os.path.lexists(folder) and not taken:
        raise BundleError(
            f"{folder} exists and is no tuned folder; it is left alone.",
            hint="choose another --output.",
            code="tuned.output-exists",
        )


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a folder beside ``output`` that takes its place if the block ends well."""
    prefix = staging_prefix(output)
    staged = output.parent / (prefix + os.urandom(8).hex())
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock_path(output)):
            check_output(output)
            for path in output.parent.iterdir():
                if path.name.startswith(prefix):  # left by a writer that was killed
                    shutil.rmtree(path, ignore_errors=True)
            staged.mkdir()
            try:
                yield staged
                for path in (*staged.iterdir(), staged):
                    flush(path)
                swap_in(staged, output)
            finally:
                shutil.rmtree(staged, ignore_errors=True)


def _save_calibration(model: MultiExitModel, data: TuneData, path: Path) -> None:
    kept: LabelledSet = data.calibration
    if len(kept):
        arrays: dict[str, Any] = model_inputs(model, kept.inputs)
        if kept.group is not None:
            arrays["group"] = kept.group
        np.savez(path, **arrays, y=kept.labels, classes=np.asarray(data.classes))


def _write_tokenizer(config: TuneConfig, path: Path) -> None:
    """Write the backbone's tokenizer, so that an app can read texts as the tuning did."""
    source, revision = config.backbone.source, config.backbone.revision
    if source is None:
        return
    tokenizer = source_folder(source, revision) / TOKENIZER
    if tokenizer.is_file():
        path.write_bytes(tokenizer.read_bytes())
        return
    with suppress(ModelError):  # there is none: the data came as numbers of tokens
        backend = getattr(load_tokenizer(source, revision), "backend_tokenizer", None)
        if backend is not None:
            path.write_text(backend.to_str(), encoding="utf-8")


def _versions() -> dict[str, str]:
    tools = {name: importlib.metadata.version(name) for name in _TOOLS}
    return {"edgeexit": __version__, "python": platform.python_version(), **tools}
