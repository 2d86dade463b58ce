from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeexit.dmpo.families.resnet import ResNetFamily
from edgeexit.errors import InputError

SETTINGS = {
    "num_channels": 1,
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 24],
    "depths": [2, 1, 2],
    "layer_type": "basic",
}


@pytest.mark.parametrize("kind", ["resnet-basic", "resnet-bottleneck"])
class TestPretrained:
    def load(self, save, kind):
        saved = save(kind)
        return saved.model, ResNetFamily().pretrained(saved.folder, None, length=0).eval()

    def test_block_by_block_it_is_what_transformers_computes(self, save, kind, through):
        model, backbone = self.load(save, kind)
        images = torch.randn(2, 3, 33, 40)
        with torch.no_grad():
            expected = model(images).last_hidden_state
        values = through(backbone, images).values
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)

    def test_it_takes_the_usual_size_until_told_another(self, save, kind):
        _, backbone = self.load(save, kind)
        assert backbone.inputs[0].shape == (3, 224, 224)
        assert (backbone.tokens(2), backbone.tokens(3)) == (56 * 56, 28 * 28)
        backbone.resize(33, 40)
        assert backbone.inputs[0].shape == (3, 33, 40)
        assert (backbone.tokens(2), backbone.tokens(3)) == (9 * 10, 5 * 5)

    def test_frozen_norms_keep_their_statistics(self, save, kind):
        _, backbone = self.load(save, kind)
        backbone.requires_grad_(False)
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        backbone.train()
        backbone.block(1, backbone.start(torch.randn(2, 3, 33, 40)))
        assert all(
            torch.equal(before[name], value) for name, value in backbone.state_dict().items()
        )

    def test_norms_that_are_tuned_update_their_statistics(self, save, kind):
        _, backbone = self.load(save, kind)
        norms = [module for module in backbone.train().modules() if type(module) is nn.BatchNorm2d]
        backbone.block(1, backbone.start(torch.randn(2, 3, 33, 40)))
        assert all(norm.training for norm in norms)
        assert norms[0].num_batches_tracked == 1


class TestFromScratch:
    @pytest.mark.parametrize("stem", ["large", "small"])
    @pytest.mark.parametrize("layer", ["basic", "bottleneck"])
    @pytest.mark.parametrize("size", [28, [29, 37]])
    def test_features_are_what_width_and_tokens_say(self, stem, layer, size, through):
        settings = {**SETTINGS, "image_size": size, "stem": stem, "layer_type": layer}
        backbone = ResNetFamily().from_scratch(settings, length=0).eval()
        images = torch.randn(2, *backbone.inputs[0].shape)
        assert backbone.depth == 5
        for number in range(1, 6):
            hidden = through(backbone, images, depth=number)
            features = backbone.features(hidden)
            height, width = hidden.values.shape[2:]
            assert features.tokens.shape == (2, backbone.tokens(number), backbone.width(number))
            assert (features.grid, features.pooling, features.prefix) == (
                (height, width),
                "mean",
                0,
            )
        assert [backbone.width(number) for number in range(1, 6)] == [8, 8, 16, 24, 24]

    def test_the_small_stem_keeps_every_pixel(self):
        settings = {**SETTINGS, "image_size": 28, "stem": "small"}
        backbone = ResNetFamily().from_scratch(settings, length=0)
        assert [backbone.tokens(number) for number in range(1, 6)] == [784, 784, 196, 49, 49]

    def test_tokens_are_the_positions_row_by_row(self, through):
        backbone = ResNetFamily().from_scratch({**SETTINGS, "stem": "small"}, length=0).eval()
        hidden = through(backbone, torch.randn(1, 1, 6, 8), depth=1)
        tokens = backbone.features(hidden).tokens
        assert torch.equal(tokens[0, 1 * 8 + 3], hidden.values[0, :, 1, 3])

    def test_truncate_drops_the_weights_of_the_layers_beyond(self):
        backbone = ResNetFamily().from_scratch(SETTINGS, length=0)
        dropped = sum(each.numel() for layer in backbone.layers[3:] for each in layer.parameters())
        before = sum(parameter.numel() for parameter in backbone.parameters())
        backbone.truncate(3)
        assert backbone.depth == 3
        assert before - sum(each.numel() for each in backbone.parameters()) == dropped > 0

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"width": 4}, "has an unknown 'width'"),
            ({"stem": "tiny"}, "stem = 'tiny' must be one of large, small"),
            ({"image_size": 0}, "image_size = 0 must be a positive number"),
            ({"depths": [2, 2]}, r"depths = \[2, 2\] and hidden_sizes = \[8, 16, 24\]"),
            ({"depths": [2, 0, 1]}, r"depths = \[2, 0, 1\] must be 1 or more"),
            ({"layer_type": "dense"}, "dense"),
            ({"hidden_act": "sinus"}, "sinus"),
        ],
    )
    def test_a_wrong_setting_is_named(self, settings, message):
        with pytest.raises(InputError, match=message) as error:
            ResNetFamily().from_scratch({**SETTINGS, **settings}, length=0)
        assert error.value.code == "input.backbone-setting"
