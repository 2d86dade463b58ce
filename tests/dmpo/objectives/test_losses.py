"""Each objective against its formula, written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeexit.dmpo.config import ObjectiveConfig
from edgeexit.dmpo.objectives.build import build_objective

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 5, 4)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 1])


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def cross_entropies():
    return -log_softmax(LOGITS)[:, np.arange(5), LABELS]


def parts(progress=0.0, **settings):
    objective = build_objective(ObjectiveConfig(**settings), 3)
    logits = [torch.from_numpy(each).requires_grad_() for each in LOGITS]
    loss = objective.loss(logits, torch.from_numpy(LABELS), progress)
    return objective, loss, logits


def test_joint_and_sweet_sum_the_cross_entropies():
    for method, separate in (("joint", False), ("sweet", True), ("frozen", False)):
        objective, loss, _ = parts(method=method)
        assert objective.separate is separate
        assert loss.total.item() == pytest.approx(cross_entropies().mean(axis=1).sum(), rel=1e-5)
        assert loss.per_exit.numpy() == pytest.approx(cross_entropies().mean(axis=1), rel=1e-5)


def test_dmpo_weighs_each_sample_by_the_exit_before():
    ce = cross_entropies()
    factor = np.vstack([np.ones(5), 1 / (1 + np.exp(-ce[:-1]))])
    weights = np.array([0.5, 1.25, 2.0])
    _, loss, _ = parts(0.25, start=(0.0, 1.0, 2.0), end=(2.0, 2.0, 2.0), method="dmpo")
    assert loss.weights == pytest.approx(tuple(weights))
    assert loss.total.item() == pytest.approx(weights @ (factor * ce).mean(axis=1), rel=1e-5)


def test_dmpo_without_the_cross_exit_factor_is_a_weighted_sum():
    _, loss, _ = parts(schedule="constant", start=(1.0, 2.0, 3.0), cross_exit=False)
    expected = np.array([1.0, 2.0, 3.0]) @ cross_entropies().mean(axis=1)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def test_gradient_flows_through_the_cross_exit_factor():
    """The second exit's loss alone reaches the first exit's logits, through sigmoid(CE_1)."""
    _, loss, logits = parts(schedule="constant", start=(0.0, 1.0, 0.0))
    loss.total.backward()
    assert logits[0].grad is not None
    assert logits[0].grad.abs().max().item() > 1e-3


def test_distillation_pulls_early_exits_and_leaves_the_teacher_alone():
    ce = cross_entropies().mean(axis=1)
    soft = log_softmax(LOGITS / 3.0)
    kl = (np.exp(soft[2]) * (soft[2] - soft[:2])).sum(axis=-1).mean(axis=-1) * 9.0
    _, loss, _ = parts(method="distill", temperature=3.0, distill_weight=0.25)
    assert loss.total.item() == pytest.approx(ce[2] + (0.75 * ce[:2] + 0.25 * kl).sum(), rel=1e-5)

    _, whole, logits = parts(method="distill", distill_weight=1.0)
    whole.total.backward()
    teacher = torch.from_numpy(LOGITS[2]).requires_grad_()
    torch.nn.functional.cross_entropy(teacher, torch.from_numpy(LABELS)).backward()
    assert torch.equal(logits[2].grad, teacher.grad)


def test_with_one_exit_there_is_nothing_to_distill():
    objective = build_objective(ObjectiveConfig(method="distill"), 1)
    loss = objective.loss([torch.from_numpy(LOGITS[0])], torch.from_numpy(LABELS), 0.0)
    assert loss.total.item() == pytest.approx(cross_entropies()[0].mean(), rel=1e-5)
    assert loss.weights == (1.0,)
