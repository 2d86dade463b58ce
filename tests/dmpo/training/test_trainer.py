"""The loop: equal bits with one seed, stopping, resuming, the best weights."""

from __future__ import annotations

import csv
import os
import signal
from dataclasses import replace

import pytest
import torch

from edgeexit.dmpo.training.checkpoint import (
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    trained_weights,
)
from edgeexit.dmpo.training.evaluate import validate
from edgeexit.dmpo.training.state import EpochRecord
from edgeexit.dmpo.training.workers import Workers
from edgeexit.errors import BundleError, InputError, ModelError
from tests.dmpo.training.tiny import build, config_of, trainer_of


def with_dropout(config):
    """Return a run that draws random numbers in every step."""
    return replace(config, adapter=replace(config.adapter, kind="lora", rank=2, dropout=0.3))


def fitted(config, folder, **options):
    model = build(config)
    outcome = trainer_of(config, folder, model=model, **options).fit()
    return outcome, trained_weights(model)


def assert_equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def numbers_of(outcome):
    """Return the history without the times."""
    return [replace(record, seconds=0.0) for record in outcome.history]


class Interrupter:
    """Sends this process a signal after some steps."""

    def __init__(self, step, number=signal.SIGINT):
        self.left = step
        self.number = number

    def __call__(self, _label, _done):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def test_one_seed_gives_equal_weights_bit_by_bit(tmp_path):
    config = with_dropout(config_of())
    first, weights = fitted(config, tmp_path / "a")
    second, again = fitted(config, tmp_path / "b")
    assert_equal(weights, again)
    assert numbers_of(first) == numbers_of(second)
    _, other = fitted(with_dropout(config_of(seed=1)), tmp_path / "c")
    assert not torch.equal(weights["exits.0.beta"], other["exits.0.beta"])


def test_it_learns(tmp_path):
    outcome, _ = fitted(config_of(epochs=6, lr=1e-2), tmp_path)
    assert outcome.history[-1].loss < outcome.history[0].loss
    assert outcome.history[outcome.best_epoch - 1].accuracy[1] > 0.9
    assert outcome.stopped == "epochs"
    assert outcome.seconds > 0
    assert outcome.peak_bytes > 10**7


@pytest.mark.parametrize("step", [3, 5, 8])
def test_after_ctrl_c_it_goes_on_as_if_nothing_had_been(tmp_path, step):
    config = with_dropout(config_of(accumulate=1))
    whole, weights = fitted(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trainer_of(config, tmp_path / "cut", progress=Interrupter(step)).fit()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    place = latest_checkpoint(tmp_path / "cut")
    assert place.name == f"step-{step:010d}"
    resumed, again = fitted(config, tmp_path / "cut")
    assert_equal(weights, again)
    assert numbers_of(resumed) == numbers_of(whole)
    for name, column in (("steps.csv", "loss"), ("epochs.csv", "loss_1")):
        cells = []
        for run in ("whole", "cut"):
            with (tmp_path / run / name).open(newline="") as file:
                cells.append([(row["step"], row[column]) for row in csv.DictReader(file)])
        assert cells[0] == cells[1]


def test_sigterm_does_what_it_would_have_done_after_a_checkpoint(tmp_path):
    class Terminated(BaseException):
        pass

    def terminate(_number, _frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with pytest.raises(Terminated):
            trainer_of(config_of(), tmp_path, progress=Interrupter(2, signal.SIGTERM)).fit()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert latest_checkpoint(tmp_path).name == "step-0000000002"


def test_a_finished_training_is_not_repeated(tmp_path):
    config = config_of()
    first, weights = fitted(config, tmp_path)
    labels = []
    second, again = fitted(config, tmp_path, progress=lambda label, _: labels.append(label))
    assert labels == []
    assert_equal(weights, again)
    assert second.history == first.history
    assert second.seconds >= sum(record.seconds for record in first.history)


def test_patience_stops_a_training_that_no_longer_improves(tmp_path):
    outcome, _ = fitted(config_of(epochs=9, lr=0.0, patience=2), tmp_path)
    assert (outcome.stopped, outcome.best_epoch, len(outcome.history)) == ("patience", 1, 3)


def test_the_best_epochs_weights_are_kept(tmp_path):
    config = config_of(epochs=6, lr=1e-2)
    model = build(config)

    def spoil(_label, done):
        if done == pytest.approx(4 / 6):
            with torch.no_grad():
                for each in model.exits:
                    each.beta.neg_()

    trainer = trainer_of(config, tmp_path, model=model, progress=spoil)
    outcome = trainer.fit()
    best = outcome.history[outcome.best_epoch - 1]
    assert outcome.best_epoch <= 4
    assert best.score == max(record.score for record in outcome.history)
    batches = trainer._validation.epoch(0)
    assert validate(model, batches, Workers("cpu")) == (best.accuracy, best.losses)


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    outcome, _ = fitted(config_of(), tmp_path, validation=0)
    assert outcome.best_epoch == 2
    assert outcome.history[1].accuracy == ()


def test_progress_rises_and_its_label_changes_once_an_epoch(tmp_path):
    seen = []
    fitted(config_of(), tmp_path, progress=lambda label, done: seen.append((label, done)))
    assert [done for _, done in seen] == pytest.approx([step / 10 for step in range(1, 11)])
    labels = list(dict.fromkeys(label for label, _ in seen))
    assert labels[0] == "epoch 1 of 2"
    assert labels[1].startswith("epoch 2 of 2; so far loss ")
    assert len(labels) == 2


def test_a_run_with_other_settings_is_not_resumed(tmp_path):
    fitted(config_of(), tmp_path, identity={"training.lr": 0.1, "data.length": 8})
    with pytest.raises(InputError) as caught:
        trainer_of(config_of(), tmp_path, identity={"training.lr": 0.2, "data.length": 8})
    assert caught.value.code == "tune.changed"
    assert "other settings: training.lr: 0.1 -> 0.2." in caught.value.message
    assert "--restart" in caught.value.hint


def test_a_checkpoint_with_parts_missing_is_refused(tmp_path):
    fitted(config_of(), tmp_path)
    checkpoint = load_checkpoint(latest_checkpoint(tmp_path))
    del checkpoint.state["training"]["best_epoch"]
    checkpoint.state["training"]["odd"] = 1
    save_checkpoint(tmp_path, checkpoint)
    with pytest.raises(BundleError, match="is not complete") as caught:
        trainer_of(config_of(), tmp_path)
    assert caught.value.code == "tune.checkpoint"


def test_a_diverged_training_keeps_its_last_good_checkpoint(tmp_path):
    config = config_of()
    model = build(config)

    def poison(_label, done):
        if done == pytest.approx(0.7):
            with torch.no_grad():
                model.exits[0].beta.fill_(float("nan"))

    trainer = trainer_of(config, tmp_path, model=model, progress=poison)
    with pytest.raises(ModelError) as caught:
        trainer.fit()
    assert "the loss of exit 1 of 2 is nan in epoch 2, step 8" in caught.value.message
    assert latest_checkpoint(tmp_path).name == "step-0000000005"
    assert str(latest_checkpoint(tmp_path)) in caught.value.hint


def test_validation_that_is_no_number_stops_it_too(tmp_path):
    config = config_of()
    model = build(config)

    def poison(_label, done):
        if done == pytest.approx(0.5):
            with torch.no_grad():
                model.exits[1].beta.fill_(float("nan"))

    with pytest.raises(ModelError, match="exit 2 of 2 is nan on the validation data in epoch 1"):
        trainer_of(config, tmp_path, model=model, progress=poison).fit()


def test_ties_in_accuracy_go_to_the_lower_loss():
    record = EpochRecord(2, 10, 1.0, (1.0, 1.0), (0.25, 0.75), (1.0, 0.5), 3.0)
    better = replace(record, accuracy=(0.5, 0.75), losses=(9.0, 9.0))
    tied = replace(record, accuracy=(0.75, 0.25), losses=(0.75, 0.5))
    assert record.score < tied.score < better.score


@pytest.mark.parametrize(("ruined", "kept"), [(0.4, 3), (0.5, 4)])
def test_weights_that_are_no_numbers_never_reach_a_checkpoint(tmp_path, ruined, kept):
    config = config_of(checkpoint_minutes=0.0)
    model = build(config)

    def ruin(_label, done):
        if done == pytest.approx(ruined):
            with torch.no_grad():
                model.exits[0].beta.fill_(float("inf"))

    trainer = trainer_of(config, tmp_path, model=model, progress=ruin, validation=0)
    with pytest.raises(ModelError) as caught:
        trainer.fit()
    where = f"the weight exits.0.beta is not finite in epoch 1, step {kept + 1}"
    assert where in caught.value.message
    checkpoint = load_checkpoint(latest_checkpoint(tmp_path))
    assert checkpoint.state["training"]["step"] == kept
    assert all(value.isfinite().all() for value in checkpoint.weights.values())
