"""The CSV and TensorBoard logs; what a resumed run finds in them."""

from __future__ import annotations

import csv
import sys

import pytest

from edgeexit.dmpo.training.log import StepRecord, TrainingLog
from edgeexit.dmpo.training.state import EpochRecord
from edgeexit.errors import InputError


def step_record(step):
    rates = {"backbone": 1e-3, "exits": 2e-3}
    return StepRecord(1 + step // 4, step, rates, 3.5 - step, (1.25, 2.25), (0.5, 1.5))


def write(folder, steps, done):
    with TrainingLog(folder, ("csv",), 2, done) as log:
        for step in steps:
            log.step(step_record(step))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_a_step_names_rates_losses_and_weights(tmp_path):
    write(tmp_path, [1], 0)
    assert rows(tmp_path / "steps.csv") == [
        {
            "epoch": "1",
            "step": "1",
            "lr": "0.001",
            "head_lr": "0.002",
            "loss": "2.5",
            "loss_1": "1.25",
            "loss_2": "2.25",
            "gamma_1": "0.5",
            "gamma_2": "1.5",
        }
    ]


def test_a_row_an_epoch_names_validation(tmp_path):
    record = EpochRecord(1, 4, 2.0, (1.0, 1.5), (0.25, 0.75), (1.125, 0.5), 9.0)
    with TrainingLog(tmp_path, ("csv",), 2, 0) as log:
        log.epoch(record)
    (row,) = rows(tmp_path / "epochs.csv")
    assert (row["epoch"], row["step"], row["loss_2"]) == ("1", "4", "1.5")
    assert (row["validation_accuracy_2"], row["validation_loss_1"]) == ("0.75", "1.125")


def test_a_resumed_log_drops_rows_after_the_checkpoint_and_a_torn_line(tmp_path):
    write(tmp_path, range(1, 7), 0)
    with (tmp_path / "steps.csv").open("a") as file:
        file.write("2,7,0.001,0.0")
    write(tmp_path, [5], 4)
    assert [row["step"] for row in rows(tmp_path / "steps.csv")] == ["1", "2", "3", "4", "5"]


def test_a_new_training_begins_an_empty_log(tmp_path):
    write(tmp_path, range(1, 7), 0)
    write(tmp_path, [], 0)
    assert rows(tmp_path / "steps.csv") == []


def test_tensorboard_gets_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TrainingLog(tmp_path, ("tensorboard",), 2, 0) as log:
        log.step(step_record(1))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/exit-2")] == [(1, 2.25)]
    assert [(e.step, e.value) for e in events.Scalars("weight/exit-1")] == [(1, 0.5)]
    assert not (tmp_path / "steps.csv").exists()


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="'wandb'; a log is csv or tensorboard") as caught:
        TrainingLog(tmp_path, ("csv", "wandb"), 2, 0)
    assert caught.value.code == "tune.log"


def test_a_missing_tensorboard_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="'tensorboard', which is not installed") as caught:
        TrainingLog(tmp_path, ("tensorboard",), 2, 0)
    assert "pip install tensorboard" in caught.value.hint
