from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeexit.dmpo.families.small_vit import Attention, SmallViTFamily
from edgeexit.errors import InputError, ModelError

SETTINGS = {"width": 24, "depth": 3, "heads": 2, "image_size": [10, 13], "channels": 2}


def test_features_are_what_width_and_tokens_say(through):
    backbone = SmallViTFamily().from_scratch(SETTINGS, length=0)
    features = backbone.features(through(backbone, torch.randn(5, 2, 10, 13), depth=2))
    assert features.tokens.shape == (5, 1 + backbone.tokens(2), backbone.width(2)) == (5, 13, 24)
    assert (features.prefix, features.grid, features.pooling) == (1, (3, 4), "first")
    assert backbone.inputs[0].shape == (2, 10, 13)


def test_the_default_is_the_demo_s_size():
    backbone = SmallViTFamily().from_scratch({}, length=0)
    assert (backbone.depth, backbone.width(1), backbone.tokens(1)) == (8, 96, 81)
    assert backbone.inputs[0].shape == (1, 28, 28)


def test_its_attention_is_torch_s_own():
    torch.manual_seed(3)
    ours, theirs = Attention(24, 3), nn.MultiheadAttention(24, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias)
        theirs.out_proj.load_state_dict(ours.out.state_dict())
        tokens = torch.randn(2, 7, 24)
        expected = theirs(tokens, tokens, tokens, need_weights=False)[0]
        torch.testing.assert_close(ours(tokens), expected, atol=1e-5, rtol=0)


def test_a_block_is_pre_norm():
    """With attention and feed-forward layer at zero, tokens pass a block unchanged."""
    backbone = SmallViTFamily().from_scratch(SETTINGS, length=0)
    block = backbone.blocks[0]
    with torch.no_grad():
        for layer in (block.attention.out, block.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
        hidden = backbone.start(torch.randn(2, 2, 10, 13))
        assert torch.equal(backbone.block(1, hidden).values, hidden.values)


def test_truncate_drops_the_weights_of_the_blocks_beyond():
    backbone = SmallViTFamily().from_scratch(SETTINGS, length=0)
    one = sum(parameter.numel() for parameter in backbone.blocks[0].parameters())
    before = sum(parameter.numel() for parameter in backbone.parameters())
    backbone.truncate(1)
    assert backbone.depth == 1
    assert before - sum(parameter.numel() for parameter in backbone.parameters()) == 2 * one


def test_images_of_another_size_are_refused():
    backbone = SmallViTFamily().from_scratch(SETTINGS, length=0)
    backbone.resize(10, 13)
    with pytest.raises(InputError, match=r"\(28, 28\) do not fit the backbone"):
        backbone.resize(28, 28)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 24}, "has an unknown 'widht'"),
        ({"width": 24.0}, "width = 24.0"),
        ({"depth": True}, "depth = True must be a whole number"),
        ({"depth": 0}, "depth = 0 must be 1 or more"),
        ({"heads": 5}, "heads = 5 must divide width = 24"),
        ({"patch": 11}, r"patch = 11 exceeds image_size = \(10, 13\)"),
        ({"image_size": "28"}, "image_size = '28' must be a positive number"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(InputError, match=message) as error:
        SmallViTFamily().from_scratch({**SETTINGS, **settings}, length=0)
    assert error.value.code == "input.backbone-setting"


def test_a_source_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no pretrained weights") as error:
        SmallViTFamily().pretrained(str(tmp_path), None, length=0)
    assert error.value.code == "model.not-pretrained"
