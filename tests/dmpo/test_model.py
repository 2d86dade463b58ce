"""The multi-exit model: what it computes, what may learn, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgeexit.dmpo.build import adapter_kind, build_model, bypass_width
from edgeexit.dmpo.config import (
    AdapterConfig,
    BackboneConfig,
    BypassConfig,
    DataConfig,
    ExitsConfig,
    ObjectiveConfig,
    TuneConfig,
)
from edgeexit.errors import InputError

SETTINGS = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
CONFIG = TuneConfig(
    data=DataConfig(train="unused", length=9),
    exits=ExitsConfig(after=(1, 3, 4)),
    backbone=BackboneConfig(family="bert", settings=SETTINGS),
    adapter=AdapterConfig("lora", rank=2),
)


def model(**changes):
    torch.manual_seed(0)
    return build_model(replace(CONFIG, **changes), classes=5)


def batch():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (6, 9), generator=generator)
    mask = torch.ones(6, 9, dtype=torch.int64)
    mask[0, 4:] = 0
    return ids, mask


def touched(network, exit_index, *, separate):
    """Return the numbers of the blocks that the loss of one exit sends a gradient to."""
    network.zero_grad()
    torch.autograd.backward(network(*batch(), separate=separate)[exit_index].square().sum())
    layers = network.backbone.layers
    return [
        number
        for number, layer in enumerate(layers, start=1)
        if any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    ]


def test_every_exit_gives_logits_and_equals_the_model_cut_there():
    whole = model()
    logits = whole(*batch())
    assert [tuple(each.shape) for each in logits] == [(6, 5)] * 3
    hidden = whole.backbone.start(*batch())
    for number in (1, 2, 3):
        hidden = whole.backbone.block(number, hidden)
    assert torch.equal(logits[1], whole.exits[1](whole.backbone.features(hidden)))


def test_separate_segments_learn_from_their_own_exit_alone():
    network = model(adapter=AdapterConfig(kind="full"))
    assert touched(network, 2, separate=False) == [1, 2, 3, 4]
    assert touched(network, 2, separate=True) == [4]
    assert touched(network, 1, separate=True) == [2, 3]
    assert touched(network, 0, separate=True) == [1]


def test_separate_segments_compute_the_same_logits():
    network = model()
    pairs = zip(network(*batch()), network(*batch(), separate=True), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, {"lora"}),
        ({"adapter": AdapterConfig(kind="full")}, {"weights"}),
        ({"adapter": AdapterConfig(kind="none")}, set()),
        ({"objective": ObjectiveConfig(method="frozen")}, set()),
        (
            {"adapter": AdapterConfig(kind="full"), "objective": ObjectiveConfig(method="frozen")},
            set(),
        ),
    ],
)
def test_what_of_the_backbone_is_tuned(changes, parts):
    network = model(**changes)
    names = [name for name, value in network.backbone.named_parameters() if value.requires_grad]
    assert {"lora" if "lora" in name else "weights" for name in names} == parts
    assert all(value.requires_grad for value in network.exits.parameters())


def test_a_frozen_norm_does_not_learn():
    network = model(exits=replace(CONFIG.exits, norm="frozen"))
    frozen = [n for n, value in network.exits.named_parameters() if not value.requires_grad]
    assert {name.split(".")[1] for name in frozen} == {"norm"}
    assert len(frozen) == 6


def test_blocks_beyond_the_last_exit_are_cut_off():
    network = model(exits=ExitsConfig(after=(2,)))
    assert len(network.backbone.layers) == 2
    assert len(network(*batch())) == 1


def test_bypass_goes_to_early_exits_unless_the_last_one_asks_for_it():
    assert [each.bypass is not None for each in model().exits] == [True, True, False]
    everywhere = model(bypass=BypassConfig(width=8, depth=2, last=True))
    assert [each.bypass is not None for each in everywhere.exits] == [True, True, True]
    assert everywhere.exits[2].predictor.head.in_features == 8
    nowhere = model(bypass=BypassConfig(width=0))
    assert all(each.bypass is None for each in nowhere.exits)


def test_each_exit_may_have_a_predictor_of_its_own():
    exits = replace(CONFIG.exits, predictor=("local", "second-order", "global"))
    names = [type(each.predictor).__name__ for each in model(exits=exits).exits]
    assert names == ["LocalPredictor", "SecondOrderPredictor", "GlobalPredictor"]


@pytest.mark.parametrize("after", [(), (0, 2), (2, 5), (3, 2), (2, 2)])
def test_exits_outside_the_backbone_are_refused(after):
    with pytest.raises(InputError, match="the backbone has the blocks 1 to 4") as caught:
        model(exits=ExitsConfig(after=after))
    assert caught.value.code == "tune.exits"
    assert f"exits.after is {list(after)}" in caught.value.message


def test_a_list_of_predictors_has_one_an_exit():
    with pytest.raises(InputError, match="lists 2 predictors for 3 exits"):
        model(exits=replace(CONFIG.exits, predictor=("linear", "linear")))


@pytest.mark.parametrize(
    ("width", "tokens", "bypass"),
    [
        (384, 64, 192),
        (768, 196, 222),
        (256, 3136, 41),
        (2048, 49, 334),
        (64, 200_000, 16),
        (3, 9, 1),
    ],
)
def test_a_bypass_is_half_the_trunk_unless_the_tokens_are_many(width, tokens, bypass):
    assert bypass_width(width, tokens) == bypass


def test_early_exits_of_a_resnet_50_cost_less_than_a_twentieth_of_it():
    settings = {"layer_type": "bottleneck", "depths": [3, 4, 6, 3]}
    config = replace(
        CONFIG,
        exits=ExitsConfig(after=(3, 7, 13, 16)),
        backbone=BackboneConfig(family="resnet", settings=settings),
        adapter=AdapterConfig(kind="none"),
    )
    with torch.device("meta"):
        network = build_model(config, classes=1000)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(torch.zeros(1, 3, 224, 224))
    flops = {name: sum(kinds.values()) for name, kinds in counter.get_flop_counts().items()}
    early = sum(flops[f"MultiExitModel.exits.{index}"] for index in range(3))
    trunk = flops["MultiExitModel"] - early - flops["MultiExitModel.exits.3"]
    assert trunk == pytest.approx(2 * 4.1e9, rel=0.02)
    assert early / trunk < 0.05


@pytest.mark.parametrize(
    ("kind", "method", "trained"),
    [
        ("auto", "dmpo", True),
        ("full", "frozen", False),
        ("none", "dmpo", False),
    ],
)
def test_what_of_a_trunk_from_scratch_is_tuned(kind, method, trained):
    network = model(adapter=AdapterConfig(kind), objective=ObjectiveConfig(method))
    assert {each.requires_grad for each in network.backbone.parameters()} == {trained}
    assert not [name for name, _ in network.named_parameters() if "lora" in name]


def test_a_pretrained_trunk_is_tuned_by_lora():
    config = replace(CONFIG, backbone=BackboneConfig(source="folder"), adapter=AdapterConfig())
    assert adapter_kind(config) == "lora"
