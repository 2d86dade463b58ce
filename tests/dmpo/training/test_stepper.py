"""One optimizer step: what it adds up, what it reaches, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edgeexit.dmpo.config import ExitsConfig
from edgeexit.dmpo.objectives.build import build_objective
from edgeexit.dmpo.training.stepper import Stepper, train_mode
from edgeexit.dmpo.training.workers import Workers
from edgeexit.errors import ModelError
from tests.dmpo.training.tiny import build, config_of, quarters, with_method


def stepper_of(config, steps=10):
    model = build(config)
    train_mode(model)
    objective = build_objective(config.objective, len(model.exits))
    return Stepper(model, objective, config.training, Workers("cpu"), steps)


def batch_of(stepper, rows):
    images, labels = quarters(24)
    name = stepper.model.backbone.inputs[0].name
    return {name: torch.from_numpy(images[rows])}, torch.from_numpy(labels[rows])


def step(stepper, batches, number=1):
    return stepper.step(batches, epoch=1, number=number, checkpoint=None)


def weights_of(stepper):
    return {name: each.detach().clone() for name, each in stepper.model.named_parameters()}


def test_gradients_add_up_to_those_of_one_large_batch():
    config = with_method(config_of(), "joint")
    parts, whole = stepper_of(config), stepper_of(config)
    accumulated = step(parts, [batch_of(parts, range(5)), batch_of(parts, range(5, 24))])
    at_once = step(whole, [batch_of(whole, range(24))])
    assert accumulated.loss == pytest.approx(at_once.loss, rel=1e-5)
    assert accumulated.losses == pytest.approx(at_once.losses, rel=1e-5)
    for name, weight in weights_of(whole).items():
        # Adam divides a gradient by its size: rounding shows where that is next to nothing.
        torch.testing.assert_close(weights_of(parts)[name], weight, atol=2e-4, rtol=0)


def test_the_objective_is_told_how_far_the_training_is():
    config = config_of()
    config = replace(config, objective=replace(config.objective, start=(0.0, 1.0), end=(1.0, 0.0)))
    stepper = stepper_of(config, steps=3)
    records = [step(stepper, [batch_of(stepper, range(8))], number) for number in (1, 2, 3)]
    assert [record.weights for record in records] == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]


def test_a_step_reports_rates_and_losses():
    stepper = stepper_of(with_method(config_of(lr=1e-3, head_lr=4e-3, warm_up=0.2), "joint"))
    record = step(stepper, [batch_of(stepper, range(8))])
    assert record.rates == {"backbone": 5e-4, "exits": 2e-3}
    assert record.loss == pytest.approx(sum(record.losses), rel=1e-6)


@pytest.mark.parametrize(("method", "adapter"), [("frozen", "lora"), ("joint", "none")])
def test_nothing_flows_back_through_a_frozen_trunk(method, adapter):
    stepper = stepper_of(with_method(config_of(), method, adapter))
    backbone = stepper.model.backbone
    assert not backbone.training
    before = weights_of(stepper)
    batch = batch_of(stepper, range(8))
    hidden = backbone.start(stepper.model.preprocess(next(iter(batch[0].values()))))
    assert not backbone.block(1, hidden).values.requires_grad
    step(stepper, [batch])
    moved = {name for name, weight in weights_of(stepper).items() if (weight != before[name]).any()}
    assert moved == {name for name in before if name.startswith("exits.")}


def test_nothing_flows_back_below_the_first_adapter():
    config = config_of()
    adapter = replace(config.adapter, kind="lora", rank=2, targets=("blocks.1.fc2",))
    stepper = stepper_of(replace(config, adapter=adapter))
    backbone = stepper.model.backbone
    (inputs, _) = batch_of(stepper, range(8))
    hidden = backbone.start(stepper.model.preprocess(next(iter(inputs.values()))))
    flows = []
    for number in (1, 2, 3):
        hidden = backbone.block(number, hidden)
        flows.append(hidden.values.requires_grad)
    assert flows == [False, True, True]


def test_sweet_updates_a_segment_by_its_own_exit_alone():
    config = with_method(config_of(clip=0.0), "sweet")
    whole = stepper_of(config)
    alone = stepper_of(replace(config, exits=ExitsConfig(after=(1,), last="linear")))
    # The early exit of the one and the sole exit of the other begin alike.
    shared = {
        name: value
        for name, value in whole.model.state_dict().items()
        if name.startswith(("backbone.stem", "backbone.blocks.0."))
    }
    alone.model.load_state_dict(shared, strict=False)
    alone.model.exits[0] = whole.model.exits[0]
    batch = batch_of(whole, range(8))
    for each in (whole, alone):
        each._backward([batch], 0.0)
    for name, parameter in alone.model.backbone.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(
                dict(whole.model.backbone.named_parameters())[name].grad, parameter.grad
            )


def test_the_gradient_is_clipped():
    stepper = stepper_of(config_of(clip=0.25))
    seen = []
    stepper.optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append(
            torch.nn.utils.get_total_norm(
                [p.grad for g in optimizer.param_groups for p in g["params"]]
            )
        )
    )
    step(stepper, [batch_of(stepper, range(8))])
    assert float(seen[0]) == pytest.approx(0.25, rel=1e-4)


def test_bfloat16_trains_float32_weights():
    stepper = stepper_of(config_of(precision="bf16"))
    record = step(stepper, [batch_of(stepper, range(8))])
    exact = stepper_of(config_of(precision="f32"))
    reference = step(exact, [batch_of(exact, range(8))])
    assert record.losses != reference.losses
    assert record.losses == pytest.approx(reference.losses, rel=0.02)
    assert {weight.dtype for weight in weights_of(stepper).values()} == {torch.float32}


def test_a_loss_that_is_no_number_names_exit_place_and_rate(tmp_path):
    stepper = stepper_of(with_method(config_of(lr=1e-3, head_lr=2e-3, warm_up=0.0), "joint"))
    with torch.no_grad():
        stepper.model.exits[1].beta.fill_(float("inf"))
    before = weights_of(stepper)
    with pytest.raises(ModelError) as caught:
        stepper.step(
            [batch_of(stepper, range(8))], epoch=3, number=1, checkpoint=tmp_path / "step-7"
        )
    assert caught.value.code == "tune.nan"
    assert "the loss of exit 2 of 2 is nan in epoch 3, step 1" in caught.value.message
    assert "0.001 of the backbone, 0.002 of the exits" in caught.value.message
    assert str(tmp_path / "step-7") in caught.value.hint
    assert "lower training.lr" in caught.value.hint
    assert "0.0002" in caught.value.hint
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(stepper).items())


def test_a_gradient_that_is_no_number_is_named():
    stepper = stepper_of(config_of())
    beta = stepper.model.exits[0].beta
    beta.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(ModelError, match=r"the gradient of exits\.0\.beta is not finite in epoch"):
        step(stepper, [batch_of(stepper, range(8))])
