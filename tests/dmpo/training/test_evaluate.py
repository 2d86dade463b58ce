"""Logits and accuracy of every exit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeexit.dmpo.data.batches import Batches
from edgeexit.dmpo.data.dataset import LabelledSet
from edgeexit.dmpo.training.evaluate import accuracies, exit_logits, validate
from edgeexit.dmpo.training.workers import Workers
from tests.dmpo.training.tiny import build, config_of, quarters


def batches_of(model, count, size):
    images, labels = quarters(count)
    data = LabelledSet({model.backbone.inputs[0].name: images}, labels)
    return Batches(data, size, 0, shuffle=False), images, labels


def test_logits_are_float32_one_row_a_sample_in_order():
    model = build(config_of())
    batches, images, _ = batches_of(model, 21, 8)
    logits = exit_logits(model, batches.epoch(0))
    assert (logits.shape, logits.dtype) == ((2, 21, 4), np.float32)
    model.eval()
    with torch.no_grad():
        whole = torch.stack(model(torch.from_numpy(images))).numpy()
    np.testing.assert_allclose(logits, whole, atol=1e-6)


def test_every_part_is_put_back_into_its_mode():
    model = build(config_of()).train()
    model.exits[0].eval()
    batches, *_ = batches_of(model, 5, 8)
    exit_logits(model, batches.epoch(0))
    assert model.training
    assert model.backbone.training
    assert not model.exits[0].training


def test_accuracy_is_counted_at_every_exit():
    logits = np.zeros((2, 4, 3), np.float32)
    labels = np.array([0, 1, 2, 2])
    logits[0, range(4), labels] = 1.0
    logits[1, :, 2] = 1.0
    assert accuracies(logits, labels) == (1.0, 0.5)


def test_validation_agrees_with_the_logits():
    model = build(config_of())
    batches, _, labels = batches_of(model, 21, 8)
    accuracy, losses = validate(model, batches.epoch(0), Workers("cpu"))
    logits = exit_logits(model, batches.epoch(0)).astype(np.float64)
    assert accuracy == accuracies(logits, labels)
    log_sums = np.log(np.exp(logits).sum(axis=2))
    expected = (log_sums - logits[:, range(21), labels]).mean(axis=1)
    assert losses == pytest.approx(expected, rel=1e-5)


def test_without_samples_there_is_nothing_to_report():
    assert validate(build(config_of()), [], Workers("cpu")) == ((), ())
