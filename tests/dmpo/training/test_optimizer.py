"""Which parameters decay, at which rate each part learns, and how the rates move."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edgeexit.dmpo.training.optimizer import build_optimizer, rate_share, rates, set_rates
from tests.dmpo.training.tiny import build, config_of


def names_of(model, group):
    wanted = {id(each) for each in group["params"]}
    return {name for name, each in model.named_parameters() if id(each) in wanted}


def test_matrices_decay_and_vectors_and_scalars_do_not():
    config = config_of(weight_decay=0.05)
    model = build(config)
    groups = build_optimizer(model, config.training).param_groups
    decaying = [names_of(model, g) for g in groups if g["weight_decay"] == 0.05]
    free = [names_of(model, g) for g in groups if g["weight_decay"] == 0.0]
    shapes = {name: each.ndim for name, each in model.named_parameters()}
    assert all(shapes[name] > 1 for names in decaying for name in names)
    assert all(shapes[name] <= 1 for names in free for name in names)
    assert set().union(*decaying, *free) == set(shapes)
    assert {"exits.0.beta", "exits.0.norm.weight", "exits.0.norm.bias"} <= set().union(*free)


def test_the_exits_learn_at_their_own_rate():
    config = config_of(lr=1e-3, head_lr=2e-3)
    model = build(config)
    optimizer = build_optimizer(model, config.training)
    set_rates(optimizer, 0.5)
    assert rates(optimizer) == {"backbone": 5e-4, "exits": 1e-3}
    for group in optimizer.param_groups:
        prefix = "backbone." if group["part"] == "backbone" else "exits."
        assert all(name.startswith(prefix) for name in names_of(model, group))


def test_without_a_rate_of_their_own_the_exits_take_the_backbones():
    config = config_of(lr=1e-3)
    optimizer = build_optimizer(build(config), config.training)
    set_rates(optimizer, 1.0)
    assert rates(optimizer) == {"backbone": 1e-3, "exits": 1e-3}


def test_frozen_parameters_are_left_out():
    config = config_of()
    model = build(config)
    model.backbone.requires_grad_(requires_grad=False)
    optimizer = build_optimizer(model, config.training)
    assert set(rates(optimizer)) == {"exits"}


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    shares = [rate_share(step, 100, 0.1) for step in range(101)]
    assert shares[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert shares[10] == 1.0
    assert shares[55] == pytest.approx(0.5)
    assert shares[100] == pytest.approx(0.0)
    assert all(a > b for a, b in pairwise(shares[10:]))


def test_without_warm_up_training_begins_at_the_peak():
    assert rate_share(0, 10, 0.0) == 1.0


def test_a_training_that_only_warms_up_is_possible():
    assert [rate_share(step, 4, 1.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
