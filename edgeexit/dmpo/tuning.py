"""From a config to a tuned folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from edgeexit.bundle.atomic import writing
from edgeexit.dmpo.build import build_model
from edgeexit.dmpo.config import TuneConfig
from edgeexit.dmpo.config_checks import check_config
from edgeexit.dmpo.data.augment import Augment
from edgeexit.dmpo.data.batches import Batches
from edgeexit.dmpo.data.check import fit_inputs
from edgeexit.dmpo.data.dataset import TuneData, image_size
from edgeexit.dmpo.data.load import load_tune_data
from edgeexit.dmpo.data.normalize import build_normalize
from edgeexit.dmpo.finished import work_folder
from edgeexit.dmpo.model import MultiExitModel
from edgeexit.dmpo.objectives.build import build_objective
from edgeexit.dmpo.training.checkpoint import (
    clear_checkpoints,
    clear_half_written,
    frozen_sha256,
    latest_checkpoint,
)
from edgeexit.dmpo.training.identity import run_identity
from edgeexit.dmpo.training.log import EPOCHS, STEPS, TENSORBOARD
from edgeexit.dmpo.training.memory import memory_told
from edgeexit.dmpo.training.precision import compute_type
from edgeexit.dmpo.training.randomness import reseed, seeded
from edgeexit.dmpo.training.state import EpochRecord
from edgeexit.dmpo.training.trainer import Outcome, Progress, Stopped, Trainer
from edgeexit.dmpo.training.workers import Workers
from edgeexit.dmpo.tuned_folder import check_output, write_tuned
from edgeexit.errors import ResourceError

LOG = "log"
"""Folder of the training log inside a tuned folder."""

_LOCK = "lock"


@dataclass(frozen=True)
class Tuned:
    """What a tuning run came to.

    Attributes:
        folder: The tuned folder, which ``edgeexit compile`` takes.
        history: One record an epoch.
        best_epoch: The epoch (from 1) whose weights the folder holds.
        validation: Share of the validation set that each exit gets right, at that epoch; empty
            without one.
        parameters_trained: Number of weights that were tuned.
        parameters: Number of all weights, adapters included.
        seconds: Time of training and validation, over all runs that led here.
        peak_bytes: Largest resident memory of the main process, in bytes.
        stopped: ``epochs``: all were done; ``patience``: validation had stopped improving.
    """

    folder: Path
    history: tuple[EpochRecord, ...]
    best_epoch: int
    validation: tuple[float, ...]
    parameters_trained: int
    parameters: int
    seconds: float
    peak_bytes: int
    stopped: Stopped


def tune(
    config: TuneConfig,
    output: str | os.PathLike[str],
    *,
    resume: bool = True,
    progress: Progress | None = None,
) -> Tuned:
    """Tune a backbone with exits and write a tuned folder.

    While it runs, checkpoints and logs lie in ``<output>.tuning`` beside the output. Ctrl-C and
    SIGTERM leave a checkpoint there; after a kill the last one is there. Several processes that
    torchrun or ``accelerate launch`` started tune together. The caller's random state is kept.

    Args:
        config: The run.
        output: The folder to write; a tuned folder that is there is replaced in one step.
        resume: Go on from the last checkpoint where there is one; False begins anew.
        progress: Called with what is being done and the share of the training that is done.

    Raises:
        InputError: A setting or the data is not usable, or the run to resume had other settings.
        ModelError: The backbone cannot be loaded, the training diverged, or the export differs.
        BundleError: ``output`` is something else, or the checkpoint is damaged.
        ResourceError: Another process tunes into ``output``, or disk or memory is full.
        KeyboardInterrupt: Ctrl-C came; a checkpoint was written.
    """
    place = Path(os.path.realpath(output))
    training = config.training
    check_config(config)
    check_output(place)
    workers = Workers(training.device)
    compute_type(training.precision, workers.device)
    with (
        memory_told(),
        _work_folder(place, workers, resume=resume) as folder,
        seeded(training.seed, workers.device),
        _threads(training.threads),
    ):
        data = load_tune_data(config)
        reseed(training.seed)
        model = build_model(config, len(data.classes), size=image_size(data))
        data = fit_inputs(data, model.backbone.inputs)
        model.preprocess = build_normalize(config, data, model.backbone.inputs[0].shape[0] or 0)
        outcome = _train(config, model, data, workers, folder, progress)
        tuned = _tuned(model, outcome, place)
        if workers.main:
            if progress is not None:
                progress("exporting the model and comparing it", 1.0)
            write_tuned(model, config, data, _report(tuned, config, workers), place)
            _move_log(folder, place / LOG)
        workers.wait()
    return tuned


def _train(
    config: TuneConfig,
    model: MultiExitModel,
    data: TuneData,
    workers: Workers,
    folder: Path,
    progress: Progress | None,
) -> Outcome:
    training = config.training
    objective = build_objective(
        config.objective, len(model.exits), label_smoothing=training.label_smoothing
    )
    train = Batches(
        data.train,
        training.batch,
        training.seed,
        augment=Augment(flip=config.data.flip) if config.data.augment else None,
        rank=workers.rank,
        world=workers.world,
    )
    validation = Batches(
        data.validation,
        training.batch,
        training.seed,
        shuffle=False,
        rank=workers.rank,
        world=workers.world,
    )
    trainer = Trainer(
        model,
        objective,
        training,
        train,
        validation,
        workers=workers,
        folder=folder,
        identity=run_identity(config, data.sha256, workers.world, frozen_sha256(model)),
        progress=progress,
    )
    return trainer.fit()


def _tuned(model: MultiExitModel, outcome: Outcome, place: Path) -> Tuned:
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    return Tuned(
        folder=place,
        history=outcome.history,
        best_epoch=outcome.best_epoch,
        validation=outcome.history[outcome.best_epoch - 1].accuracy,
        parameters_trained=sum(size for size, trained in sizes if trained),
        parameters=sum(size for size, _ in sizes),
        seconds=outcome.seconds,
        peak_bytes=outcome.peak_bytes,
        stopped=outcome.stopped,
    )


def _report(tuned: Tuned, config: TuneConfig, workers: Workers) -> dict[str, Any]:
    dtype = compute_type(config.training.precision, workers.device).dtype
    report = dataclasses.asdict(tuned)
    del report["folder"]
    return report | {
        "device": workers.device.type,
        "processes": workers.world,
        "precision": str(dtype or torch.float32).removeprefix("torch."),
    }


@contextlib.contextmanager
def _work_folder(output: Path, workers: Workers, *, resume: bool) -> Iterator[Path]:
    """Yield the folder of the work in progress, locked.

    It is removed if the block ends well, or before there is anything to resume.
    """
    folder = work_folder(output)
    if not workers.main:
        workers.wait()
        yield folder
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder, output)
    try:
        clear_half_written(folder)
        if not resume:
            clear_checkpoints(folder)
        workers.wait()
        yield folder
        clear_checkpoints(folder)
    finally:
        if latest_checkpoint(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _locked(folder: Path, output: Path) -> FileLock:
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResourceError(
            f"another process is tuning into {output}.",
            hint="wait for it to end, or write to another place with --output.",
            code="tune.locked",
        ) from None
    return lock


def _move_log(folder: Path, place: Path) -> None:
    """Move the training log into the tuned folder."""
    for name in (STEPS, EPOCHS, TENSORBOARD):
        if (folder / name).exists():
            place.mkdir(exist_ok=True)
            shutil.rmtree(place / name, ignore_errors=True)
            (folder / name).replace(place / name)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
