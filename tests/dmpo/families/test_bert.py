from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgeexit.dmpo.families.bert import BertFamily
from edgeexit.errors import InputError, ModelError

LENGTH = 12
PADDING = {"bert": 0, "roberta": 1}
SETTINGS = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("kind", ["bert", "roberta"])
class TestPretrained:
    def load(self, save, kind, length=LENGTH):
        saved = save(kind)
        return saved.model, BertFamily().pretrained(saved.folder, None, length=length).eval()

    def test_block_by_block_it_is_what_transformers_computes(self, save, kind, through, texts):
        model, backbone = self.load(save, kind)
        ids, mask = texts(PADDING[kind], lengths=(LENGTH,) * 4)
        with torch.no_grad():
            expected = model(ids, attention_mask=mask).last_hidden_state
        values = through(backbone, ids, mask).values
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)

    def test_with_padding_the_tokens_of_the_text_are_the_same(self, save, kind, through, texts):
        model, backbone = self.load(save, kind)
        ids, mask = texts(PADDING[kind])
        with torch.no_grad():
            expected = model(ids, attention_mask=mask).last_hidden_state
        hidden = through(backbone, ids, mask)
        kept = mask.bool()
        torch.testing.assert_close(hidden.values[kept], expected[kept], atol=1e-5, rtol=0)
        assert torch.equal(hidden.mask, mask.float())

    def test_a_shorter_batch_gives_the_same_tokens(self, save, kind, through, texts):
        _, backbone = self.load(save, kind)
        ids, mask = texts(PADDING[kind], lengths=(7, 5))
        whole = through(backbone, ids, mask).values[:, :7]
        short = through(backbone, ids[:, :7], mask[:, :7]).values
        kept = mask[:, :7].bool()
        torch.testing.assert_close(short[kept], whole[kept], atol=1e-5, rtol=0)

    def test_features_are_what_width_and_tokens_say(self, save, kind, through, texts):
        _, backbone = self.load(save, kind)
        features = backbone.features(through(backbone, *texts(PADDING[kind]), depth=2))
        assert features.tokens.shape == (4, backbone.tokens(2), backbone.width(2)) == (4, 12, 32)
        assert (features.prefix, features.grid, features.pooling) == (0, None, "mean")
        assert backbone.final_norm(3) is None

    def test_truncate_drops_the_weights_of_the_layers_beyond(self, save, kind, through, texts):
        model, backbone = self.load(save, kind)
        before, inputs = parameters(backbone), texts(PADDING[kind])
        expected = through(backbone, *inputs, depth=1).values
        backbone.truncate(1)
        assert backbone.depth == 1
        assert before - parameters(backbone) == 2 * parameters(model.encoder.layer[0])
        torch.testing.assert_close(through(backbone, *inputs).values, expected)

    def test_it_names_its_inputs(self, save, kind):
        _, backbone = self.load(save, kind)
        assert backbone.modality == "text"
        assert [(each.name, each.shape, each.dtype) for each in backbone.inputs] == [
            ("input_ids", (LENGTH,), "int64"),
            ("attention_mask", (LENGTH,), "int64"),
        ]

    def test_more_tokens_than_positions_are_refused(self, save, kind):
        most = {"bert": 20, "roberta": 18}[kind]
        assert self.load(save, kind, length=most)[1].tokens(1) == most
        with pytest.raises(InputError, match=f"length = {most + 1} .* 1 to {most} tokens") as error:
            self.load(save, kind, length=most + 1)
        assert error.value.hint == f"set [data] length to {most} or less."


class TestPretrainedOddities:
    def test_a_classifier_of_the_architecture_gives_its_trunk(self, tmp_path, through, texts):
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(**SETTINGS, num_labels=7)
        model = BertForSequenceClassification(config).eval()
        model.save_pretrained(tmp_path / "classifier")
        source = str(tmp_path / "classifier")
        backbone = BertFamily().pretrained(source, None, length=LENGTH).eval()
        ids, mask = texts(0)
        with torch.no_grad():
            expected = model.bert(ids, attention_mask=mask).last_hidden_state
        kept = mask.bool()
        values = through(backbone, ids, mask).values
        torch.testing.assert_close(values[kept], expected[kept], atol=1e-5, rtol=0)

    def test_half_precision_weights_are_loaded_as_float32(self, save):
        saved = save("bert")
        saved.model.half().save_pretrained(saved.folder)
        backbone = BertFamily().pretrained(saved.folder, None, length=LENGTH)
        assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}

    def test_a_roberta_that_does_not_say_where_positions_begin(self, save):
        folder = save("roberta").folder
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": None}))
        with pytest.raises(ModelError, match="has no pad_token_id") as caught:
            BertFamily().pretrained(folder, None, length=LENGTH)
        assert caught.value.code == "model.bad-config"

    def test_a_decoder_is_refused(self, save):
        saved = save("bert")
        saved.model.config.is_decoder = True
        saved.model.save_pretrained(saved.folder)
        with pytest.raises(ModelError, match="is a decoder") as error:
            BertFamily().pretrained(saved.folder, None, length=LENGTH)
        assert error.value.code == "model.decoder"


class TestFromScratch:
    @pytest.mark.parametrize("kind", ["bert", "roberta"])
    def test_the_settings_size_it(self, kind, through, texts):
        settings = {**SETTINGS, "model_type": kind, "pad_token_id": PADDING[kind]}
        backbone = BertFamily().from_scratch(settings, length=LENGTH)
        assert settings["model_type"] == kind
        assert (backbone.depth, backbone.width(1)) == (2, 32)
        assert through(backbone, *texts(PADDING[kind])).values.shape == (4, LENGTH, 32)

    def test_torch_s_random_state_decides_the_weights(self):
        weights = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            backbone = BertFamily().from_scratch(SETTINGS, length=LENGTH)
            weights.append(backbone.state_dict()["layers.1.output.dense.weight"])
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"hiden_size": 32}, "has an unknown 'hiden_size'"),
            ({"model_type": "gpt"}, "model_type = 'gpt' must be one of bert, roberta"),
            ({"hidden_size": "wide"}, "hidden_size.*expected int, got str"),
            ({"num_hidden_layers": 0}, "num_hidden_layers = 0 must be 1 or more"),
            ({"hidden_dropout_prob": 1.5}, r"hidden_dropout_prob = 1.5 must lie in 0\.\.1"),
            ({"hidden_size": 33, "num_attention_heads": 4}, r"33.*not a multiple.*4"),
            ({"hidden_act": "sinus"}, "sinus"),
        ],
    )
    def test_a_wrong_setting_is_named(self, settings, message):
        with pytest.raises(InputError, match=message) as error:
            BertFamily().from_scratch({**SETTINGS, **settings}, length=LENGTH)
        assert error.value.code == "input.backbone-setting"

    def test_a_misspelt_setting_is_guessed(self):
        with pytest.raises(InputError) as error:
            BertFamily().from_scratch({"hiden_size": 32}, length=LENGTH)
        assert "did you mean 'hidden_size'?" in error.value.hint
        assert "model_type" in error.value.hint
