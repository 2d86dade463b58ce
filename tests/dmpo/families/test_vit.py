from __future__ import annotations

import pytest
import torch

from edgeexit.dmpo.families.vit import ViTFamily
from edgeexit.errors import InputError

PREFIX = {"vit": 1, "deit": 2}
SETTINGS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
}


@pytest.mark.parametrize("kind", ["vit", "deit"])
class TestPretrained:
    def load(self, save, kind):
        saved = save(kind)
        return saved.model, ViTFamily().pretrained(saved.folder, None, length=0).eval()

    def test_block_by_block_it_is_what_transformers_computes(self, save, kind, through):
        model, backbone = self.load(save, kind)
        images = torch.randn(3, 3, 12, 16)
        with torch.no_grad():
            expected = model(images).last_hidden_state
            values = backbone.final_norm(3)(through(backbone, images).values)
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)

    def test_the_final_norm_is_a_copy_a_call(self, save, kind):
        model, backbone = self.load(save, kind)
        first, second = backbone.final_norm(1), backbone.final_norm(2)
        with torch.no_grad():
            first.weight.zero_()
        assert torch.equal(second.weight, model.layernorm.weight)
        assert not any("norm" in name and "layers" not in name for name in backbone.state_dict())

    def test_features_are_what_width_and_tokens_say(self, save, kind, through):
        _, backbone = self.load(save, kind)
        features = backbone.features(through(backbone, torch.randn(2, 3, 12, 16), depth=1))
        prefix = PREFIX[kind]
        assert (features.prefix, features.grid, features.pooling) == (prefix, (3, 4), "first")
        assert features.tokens.shape == (2, prefix + backbone.tokens(1), backbone.width(1))
        assert (backbone.tokens(1), backbone.width(1), features.mask) == (12, 32, None)

    def test_truncate_drops_the_weights_of_the_layers_beyond(self, save, kind, through):
        model, backbone = self.load(save, kind)
        images = torch.randn(2, 3, 12, 16)
        expected = through(backbone, images, depth=2).values
        before = sum(parameter.numel() for parameter in backbone.parameters())
        backbone.truncate(2)
        after = sum(parameter.numel() for parameter in backbone.parameters())
        assert before - after == sum(each.numel() for each in model.layers[2].parameters())
        assert backbone.depth == 2
        torch.testing.assert_close(through(backbone, images).values, expected)

    def test_images_of_another_size_are_refused(self, save, kind):
        _, backbone = self.load(save, kind)
        backbone.resize(12, 16)
        with pytest.raises(InputError, match=r"\(16, 12\) do not fit .* \(12, 16\)") as error:
            backbone.resize(16, 12)
        assert error.value.code == "input.image-size"

    def test_gradients_reach_class_tokens_and_positions(self, save, kind):
        _, backbone = self.load(save, kind)
        backbone.block(1, backbone.start(torch.randn(2, 3, 12, 16))).values[:, 0].sum().backward()
        embeddings = backbone.embeddings
        names = ["cls_token", "position_embeddings", "distillation_token"][: 1 + PREFIX[kind]]
        assert all(getattr(embeddings, name).grad.abs().sum() > 0 for name in names)


class TestFromScratch:
    @pytest.mark.parametrize("kind", ["vit", "deit"])
    def test_the_settings_size_it(self, kind, through):
        backbone = ViTFamily().from_scratch({**SETTINGS, "model_type": kind}, length=0)
        assert (backbone.depth, backbone.width(1), backbone.tokens(1)) == (2, 32, 4)
        assert backbone.inputs[0].shape == (1, 8, 8)
        assert backbone.final_norm(1) is None
        values = through(backbone, torch.randn(3, 1, 8, 8)).values
        assert values.shape == (3, 4 + PREFIX[kind], 32)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"patch": 4}, "has an unknown 'patch'"),
            ({"model_type": "swin"}, "model_type = 'swin' must be one of vit, deit"),
            ({"patch_size": 16}, r"patch_size = \(16, 16\) exceeds image_size = \(8, 8\)"),
            ({"image_size": [8, 8, 8]}, r"image_size = \[8, 8, 8\] must be a positive number, or"),
            ({"num_attention_heads": 5}, "num_attention_heads = 5 must divide hidden_size = 32"),
        ],
    )
    def test_a_wrong_setting_is_named(self, settings, message):
        with pytest.raises(InputError, match=message) as error:
            ViTFamily().from_scratch({**SETTINGS, **settings}, length=0)
        assert error.value.code == "input.backbone-setting"
