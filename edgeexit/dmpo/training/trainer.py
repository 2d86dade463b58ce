"""The training loop: epochs, validation, early stopping, checkpoints."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from edgeexit.bundle.atomic import writing
from edgeexit.dmpo.config import TrainingConfig
from edgeexit.dmpo.data.batches import Batch, Batches
from edgeexit.dmpo.model import MultiExitModel
from edgeexit.dmpo.objectives.base import Objective
from edgeexit.dmpo.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    load_optimizer,
    load_weights,
    optimizer_tensors,
    save_checkpoint,
    trained_weights,
    unusable,
)
from edgeexit.dmpo.training.evaluate import validate
from edgeexit.dmpo.training.faults import loss_fault, nan_error, weight_fault
from edgeexit.dmpo.training.identity import check_identity
from edgeexit.dmpo.training.interrupts import Interrupts
from edgeexit.dmpo.training.log import StepRecord, TrainingLog
from edgeexit.dmpo.training.memory import peak_bytes
from edgeexit.dmpo.training.optimizer import rates
from edgeexit.dmpo.training.randomness import random_state, reseed, restore_random_state
from edgeexit.dmpo.training.state import EpochRecord, TrainingState
from edgeexit.dmpo.training.stepper import Stepper, train_mode
from edgeexit.dmpo.training.workers import Workers
from edgeexit.errors import ModelError

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the training that is done."""

Stopped = Literal["epochs", "patience"]


@dataclass(frozen=True)
class Outcome:
    """What a training came to; the model holds the weights of the best epoch.

    Attributes:
        history: One record an epoch.
        best_epoch: The epoch (from 1) whose weights were kept.
        stopped: ``epochs``: all were done; ``patience``: the score had stopped rising.
        seconds: Time of all runs that led here.
        peak_bytes: Largest resident memory of the main process in any of them, in bytes.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped: Stopped
    seconds: float
    peak_bytes: int


class Trainer:
    """Trains a multi-exit model; it resumes from the newest checkpoint in its folder.

    With one seed, machine and number of threads the weights come out equal bit by bit, whether or
    not the training was interrupted.

    Args:
        model: Trained in place.
        objective: The loss.
        config: The optimizer and its course.
        train: Training batches of this process; what an epoch holds depends on its number alone.
        validation: Validation batches of this process; may be empty.
        workers: The processes that train together; they share the file system.
        folder: Of checkpoints and logs; no other run may use it.
        identity: What a checkpoint must share to be resumed; see
            :func:`edgeexit.dmpo.training.identity.run_identity`.
        progress: Called after every step; the label changes once an epoch.

    Attributes:
        state: Where the training stands.

    Raises:
        InputError: The checkpoint is of other settings or data.
        BundleError: The checkpoint is damaged.
    """

    def __init__(
        self,
        model: MultiExitModel,
        objective: Objective,
        config: TrainingConfig,
        train: Batches,
        validation: Batches,
        *,
        workers: Workers,
        folder: Path,
        identity: Mapping[str, Any],
        progress: Progress | None = None,
    ) -> None:
        self.state = TrainingState()
        self._model = model
        self._config = config
        self._train = train
        self._validation = validation
        self._workers = workers
        self._folder = folder
        self._identity = dict(identity)
        self._progress = progress or (lambda _label, _done: None)
        self._steps = math.ceil(len(train) / config.accumulate) * config.epochs
        self._stepper = Stepper(model, objective, config, workers, self._steps)
        self._best: Mapping[str, Tensor] = {}
        self._saved: Path | None = None
        self._started = self._saved_at = time.monotonic()
        reseed(config.seed + workers.rank)
        self._resume()

    @property
    def stopped(self) -> Stopped | None:
        """Why the training is over, or None while it is not."""
        state, patience = self.state, self._config.patience
        if state.epoch >= self._config.epochs:
            return "epochs"
        if patience and state.epoch - state.best_epoch >= patience:
            return "patience"
        return None

    def fit(self) -> Outcome:
        """Train to the end and put the best epoch's weights into the model.

        Raises:
            ModelError: The loss, a gradient or a weight is no finite number.
            InputError: The log cannot be written as asked for.
            ResourceError: The disk is full or failing.
            KeyboardInterrupt: Ctrl-C came; a checkpoint was written. SIGTERM likewise does what it
                would have done, one checkpoint later.
        """
        kinds = self._config.log if self._workers.main else ()
        exits = len(self._model.exits)
        reason = self.stopped
        done = self.state.step
        with (
            writing(self._folder),
            TrainingLog(self._folder, kinds, exits, done) as log,
            Interrupts() as stop,
        ):
            while reason is None:
                self._epoch(log, stop)
                reason = self.stopped
        load_weights(self._model, self._best)
        state = self._present()
        return Outcome(state.history, state.best_epoch, reason, state.seconds, state.peak_bytes)

    def _epoch(self, log: TrainingLog, stop: Interrupts) -> None:
        began = time.monotonic()
        train_mode(self._model)
        state = self.state
        batches = self._train.epoch(state.epoch, skip=state.batch)
        for group in _groups(batches, self._config.accumulate):
            record = self._stepper.step(
                group, epoch=state.epoch + 1, number=state.step + 1, checkpoint=self._saved
            )
            self._count(record, group)
            log.step(record)
            self._progress(self._label(), state.step / self._steps)
            if state.batch < len(self._train):
                self._save_if_due(log, stop)
        log.epoch(self._finish_epoch(began))
        self._save(log)
        self._leave_if(any(self._workers.total([float(stop.caught is not None)])), stop)

    def _count(self, record: StepRecord, group: list[Batch]) -> None:
        samples = sum(len(labels) for _, labels in group)
        state, means = self.state, (record.loss, *record.losses)
        before = state.sums or (0.0,) * len(means)
        state.sums = tuple(b + mean * samples for b, mean in zip(before, means, strict=True))
        state.samples += samples
        state.batch += len(group)
        state.step += 1

    def _finish_epoch(self, began: float) -> EpochRecord:
        state = self.state
        accuracy, losses = validate(self._model, self._validation.epoch(0), self._workers)
        if fault := loss_fault(0.0, losses):
            raise self._diverged(f"{fault} on the validation data", state.epoch + 1)
        loss, *train_losses = (each / state.samples for each in state.sums)
        seconds = time.monotonic() - began
        record = EpochRecord(
            state.epoch + 1, state.step, loss, tuple(train_losses), accuracy, losses, seconds
        )
        if all(record.score > before.score for before in state.history):
            state.best_epoch = record.epoch
            self._best = trained_weights(self._model)
        state.history = (*state.history, record)
        state.epoch, state.batch, state.samples, state.sums = record.epoch, 0, 0, ()
        return record

    def _diverged(self, fault: str, epoch: int) -> ModelError:
        present, step = rates(self._stepper.optimizer), self.state.step
        return nan_error(fault, epoch=epoch, step=step, rates=present, checkpoint=self._saved)

    def _label(self) -> str:
        label = f"epoch {self.state.epoch + 1} of {self._config.epochs}"
        if not self.state.history:
            return label
        last = self.state.history[-1]
        correct = " ".join(f"{100 * share:.1f}" for share in last.accuracy)
        return f"{label}; so far loss {last.loss:.3f}" + (f", accuracy {correct} %" * bool(correct))

    def _save_if_due(self, log: TrainingLog, stop: Interrupts) -> None:
        late = time.monotonic() - self._saved_at >= 60 * self._config.checkpoint_minutes
        # All processes decide alike: collecting the random states takes every one of them.
        due, leave = self._workers.total([float(late), float(stop.caught is not None)])
        if due or leave:
            self._save(log)
        self._leave_if(bool(leave), stop)

    def _leave_if(self, leave: bool, stop: Interrupts) -> None:
        if leave:
            stop.deliver()
            # The signal went to another of the processes.
            raise KeyboardInterrupt

    def _save(self, log: TrainingLog) -> None:
        weights = trained_weights(self._model)
        if fault := weight_fault(weights):  # the loss would show it one step too late
            raise self._diverged(fault, self.state.epoch + bool(self.state.batch))
        states = self._workers.gather(random_state(self._workers.device))
        self._saved_at = time.monotonic()
        log.flush()
        if not self._workers.main:
            return
        stepper = self._stepper
        state = {
            "identity": self._identity,
            "training": self._present().to_json(),
            "scaler": stepper.scaler.state_dict(),
        }
        checkpoint = Checkpoint(
            weights,
            self._best,
            optimizer_tensors(stepper.optimizer),
            {"states": states},
            state,
        )
        self._saved = save_checkpoint(self._folder, checkpoint)

    def _resume(self) -> None:
        place = latest_checkpoint(self._folder)
        if place is None:
            return
        checkpoint = load_checkpoint(place)
        try:
            check_identity(checkpoint.state["identity"], self._identity)
            self.state = TrainingState.from_json(checkpoint.state["training"])
            self._stepper.scaler.load_state_dict(checkpoint.state["scaler"])
            load_weights(self._model, checkpoint.weights)
            load_optimizer(self._stepper.optimizer, checkpoint.optimizer)
            restore_random_state(
                checkpoint.random["states"][self._workers.rank], self._workers.device
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise unusable(f"checkpoint {place}", f"is not complete ({error})") from error
        self._best = checkpoint.best
        self._saved = place

    def _present(self) -> TrainingState:
        """Return the state with the time and the memory of this run added."""
        seconds = self.state.seconds + time.monotonic() - self._started
        peak = max(self.state.peak_bytes, peak_bytes())
        return dataclasses.replace(self.state, seconds=seconds, peak_bytes=peak)


def _groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    rest = iter(batches)
    while group := list(islice(rest, size)):
        yield group
