"""LoRA: what is adapted, what stays, and that merging changes nothing."""

import pytest
import torch
from torch import nn

from edgeexit.dmpo.config import AdapterConfig
from edgeexit.dmpo.lora import add_lora, merge_lora
from edgeexit.errors import InputError


class Trunk(nn.Module):
    """The parts of a backbone that LoRA sees: linear layers, convolutions, a norm."""

    lora_targets = ("query", "conv")

    def __init__(self):
        super().__init__()
        self.stem = nn.ModuleDict(
            {"conv": nn.Conv2d(3, 8, 3, stride=2), "depthwise": nn.Conv2d(8, 8, 3, groups=8)}
        )
        self.norm = nn.LayerNorm(8)
        self.block = nn.ModuleDict({"query": nn.Linear(8, 8), "value": nn.Linear(8, 8)})

    def forward(self, images):
        maps = self.stem["depthwise"](self.stem["conv"](images))
        tokens = self.norm(maps.flatten(2).transpose(1, 2))
        return self.block["query"](tokens) * self.block["value"](tokens)


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return Trunk().eval()


IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def randomise(trunk):
    for name, parameter in trunk.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.2)


def test_it_starts_as_the_backbone_and_trains_the_low_rank_matrices_only(trunk):
    before = trunk(IMAGES)
    assert add_lora(trunk, AdapterConfig(rank=2)) is trunk
    assert torch.equal(trunk(IMAGES), before)
    trained = {name: tuple(p.shape) for name, p in trunk.named_parameters() if p.requires_grad}
    assert trained == {
        "stem.conv.lora_A.default.weight": (2, 3, 3, 3),
        "stem.conv.lora_B.default.weight": (8, 2, 1, 1),
        "block.query.lora_A.default.weight": (2, 8),
        "block.query.lora_B.default.weight": (8, 2),
    }


def test_merging_gives_plain_layers_and_the_same_answer(trunk):
    before = trunk(IMAGES)
    add_lora(trunk, AdapterConfig(rank=2))
    randomise(trunk)
    tuned = trunk(IMAGES)
    assert (tuned - before).abs().max() > 0.1
    assert merge_lora(trunk) is trunk
    torch.testing.assert_close(trunk(IMAGES), tuned, atol=1e-5, rtol=1e-5)
    assert {type(m).__module__ for m in trunk.modules() if not list(m.children())} == {
        "torch.nn.modules.linear",
        "torch.nn.modules.conv",
        "torch.nn.modules.normalization",
    }
    assert set(trunk.state_dict()) == set(Trunk().state_dict())
    assert not hasattr(trunk, "peft_config")


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (2, 0.5), (6.0, 1.5)])
def test_the_scale_is_alpha_over_rank_or_one(trunk, alpha, scale):
    add_lora(trunk, AdapterConfig(rank=4, alpha=alpha, targets=("value",)))
    assert trunk.block["value"].scaling == {"default": scale}
    assert isinstance(trunk.block["query"], nn.Linear)
    assert not trunk.block["query"].weight.requires_grad


@pytest.mark.parametrize("target", ["qkv", "depthwise", "norm", "uery"])
def test_an_unknown_target_is_told_what_there_is(trunk, target):
    with pytest.raises(InputError) as caught:
        add_lora(trunk, AdapterConfig(targets=("query", target)))
    assert caught.value.code == "input.lora-target"
    assert caught.value.message == (
        f"{target!r} is no linear layer or convolution of this backbone; it has conv, query, value."
    )


def test_a_backbone_without_lora_merges_to_itself(trunk):
    before = trunk(IMAGES)
    assert torch.equal(merge_lora(trunk)(IMAGES), before)
