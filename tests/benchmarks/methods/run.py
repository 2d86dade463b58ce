"""Fills one cell: tunes, calibrates on samples kept from training, answers the test set."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from filelock import FileLock

from edgeexit.bundle.atomic import write_atomic
from edgeexit.dmpo.config import TuneConfig
from edgeexit.dmpo.tuning import Tuned, tune
from edgeexit.tuned import TunedFolder
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.methods.cells import Cell
from tests.benchmarks.methods.costs import Flops, count_flops
from tests.benchmarks.methods.data import PARTS, Inputs, load_data, on_this_machine
from tests.benchmarks.methods.operate import Point, operating_points
from tests.benchmarks.methods.recipes import BUDGETS
from tests.benchmarks.methods.records import exit_records
from tests.benchmarks.methods.sources import Places, methods_cache

_BATCH = 64
"""Samples answered at once; no figure depends on it."""

Logits = list[npt.NDArray[np.float32]]


def run_cell(cell: Cell, folder: Path, places: Places) -> str:
    """Run a cell and write its file; a cell that was killed goes on from its checkpoint.

    Args:
        cell: The cell.
        folder: Where its file is written.
        places: Where the data lie.

    Returns:
        The result in one line.

    Raises:
        EdgeExitError: The data cannot be had, or the training failed.
    """
    work = methods_cache() / "runs" / cell.size / f"{cell.name}-{cell.digest}"
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{work}.lock"):
        if cell.done(folder):
            return "done by another process"
        config = on_this_machine(cell.config, places)
        data = load_data(cell, config, places)
        before = time.process_time()
        tuned = tune(_with_files(config, data, work, cell), work / "tuned")
        seconds = time.process_time() - before
        result = _describe(cell, data, tuned, seconds) | _figures(cell, tuned.folder, data, places)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        write_atomic(cell.file(folder), text.encode())
        shutil.rmtree(work)
    return _one_line(result)


def _with_files(
    config: TuneConfig, data: Mapping[str, Inputs], folder: Path, cell: Cell
) -> TuneConfig:
    """Write the samples of a run and return its config with their paths."""
    files = {name: folder / f"{name}.npz" for name in PARTS}
    for name, path in files.items():
        data[name].save(path, cell.recipe.classes)
    train, validation, calibration = (str(path) for path in files.values())
    given = dataclasses.replace(
        config.data, train=train, validation=validation, calibration=calibration
    )
    return dataclasses.replace(config, data=given)


def _describe(
    cell: Cell, data: Mapping[str, Inputs], tuned: Tuned, seconds: float
) -> dict[str, Any]:
    """Return what was asked for and what tuning cost.

    Processor time, since two cells share a machine: tuning, validation, export and its check.
    """
    opened = TunedFolder.open(tuned.folder)
    return {
        **dataclasses.asdict(cell),
        "digest": cell.digest,
        "samples": {name: len(samples) for name, samples in data.items()},
        "training": {
            "cpu_seconds": round(seconds, 1),
            "peak_mib": round(tuned.peak_bytes / 2**20),
            "tuned": tuned.parameters_trained,
            "parameters": tuned.parameters,
            "epochs": len(tuned.history),
            "best_epoch": tuned.best_epoch,
            "validation": list(tuned.validation),
            "stopped": tuned.stopped,
            "precision": opened.report["precision"],
            "device": opened.report["device"],
        },
        "parity": dataclasses.asdict(opened.record.parity),
        "versions": dict(opened.record.versions),
        "machine": dataclasses.asdict(describe_machine()),
    }


def _figures(cell: Cell, tuned: Path, data: Mapping[str, Inputs], places: Places) -> dict[str, Any]:
    """Return what the tuned model answers and costs."""
    model = TunedFolder.open(tuned).model
    classes, after = cell.recipe.classes, cell.recipe.config.exits.after
    plain = count_flops(on_this_machine(cell.variant("joint"), places), classes)
    static = plain.alone[-1]
    labels = data["test"].labels
    test = _logits(model, data["test"].arrays)
    own_after = cell.config.exits.after
    figures: dict[str, Any] = {
        "after": list(own_after),
        "accuracy": [float((array.argmax(axis=1) == labels).mean()) for array in test],
        "static_flops": static,
    }
    own = count_flops(on_this_machine(cell.variant(cell.counted), places), classes)
    if cell.single:
        cost = own.alone[after.index(own_after[0])] / static
        return figures | {"costs": [cost], "overhead": 0.0}
    calibration = _logits(model, data["calibration"].arrays)
    return figures | _operation(own, plain, (calibration, test), data)


def _operation(
    own: Flops, plain: Flops, logits: tuple[Logits, Logits], data: Mapping[str, Inputs]
) -> dict[str, Any]:
    """Return costs and operating points of a multi-exit model."""
    static = plain.alone[-1]
    costs = own.costs(static)
    calibration = exit_records(logits[0], data["calibration"].labels)
    test = exit_records(logits[1], data["test"].labels)
    cut = [flops / static for flops in plain.alone]
    return {
        "costs": costs,
        "overhead": own.overhead,
        "points": _as_json(operating_points(calibration, test, costs, BUDGETS)),
        "equal_flops": _as_json(operating_points(calibration, test, costs, cut)),
    }


def _logits(model: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Logits:
    """Return the ``(n, classes) float32`` logits of every exit, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    named = {spec.name: arrays[spec.name] for spec in session.get_inputs()}
    count = len(next(iter(named.values())))
    answers = [
        session.run(None, {name: array[start : start + _BATCH] for name, array in named.items()})
        for start in range(0, count, _BATCH)
    ]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _as_json(points: tuple[Point, ...]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(point) for point in points]


def _one_line(result: dict[str, Any]) -> str:
    accuracy = " / ".join(f"{100 * share:.2f}" for share in result["accuracy"])
    points = ", ".join(
        f"{point['budget']:.0%} {100 * point['accuracy']:.2f}" for point in result.get("points", ())
    )
    return f"exits {accuracy}" + (f"; at {points}" if points else "")
