"""What a folder of a backbone may hold, and what a user reads where it holds something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgeexit.dmpo.families.bert import BertFamily
from edgeexit.dmpo.families.registry import family_of
from edgeexit.dmpo.families.source import source_folder
from edgeexit.dmpo.families.vit import ViTFamily
from edgeexit.errors import ModelError


def load(folder):
    return BertFamily().pretrained(str(folder), None, length=12)


def refuse(folder, code, message):
    with pytest.raises(ModelError, match=message) as error:
        load(folder)
    assert error.value.code == code
    return error.value


@pytest.fixture
def folder(save) -> Path:
    return Path(save("bert").folder)


class TestFolder:
    def test_it_must_exist(self, tmp_path):
        error = refuse(tmp_path / "none", "model.no-source", "none' does not exist")
        assert "save_pretrained" in error.hint

    def test_it_must_be_no_file(self, folder):
        refuse(folder / "config.json", "model.no-source", "is a file")

    @pytest.mark.parametrize("call", [load, lambda folder: family_of(str(folder))])
    def test_it_must_have_a_config(self, folder, call):
        (folder / "config.json").unlink()
        with pytest.raises(ModelError, match=r"has no config\.json") as error:
            call(folder)
        assert error.value.code == "model.no-config"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "cannot be read"),
            ("[" * 100_000, "cannot be read"),
            ("[]", "holds a list, not an object"),
            ("{}", "has no model_type"),
            ('{"model_type": 3}', "has no model_type"),
        ],
    )
    def test_its_config_must_say_what_it_is(self, folder, text, message):
        (folder / "config.json").write_text(text)
        refuse(folder, "model.bad-config", message)

    def test_its_config_must_be_of_the_family(self, folder):
        with pytest.raises(ModelError, match="'bert'; this family reads vit, deit") as error:
            ViTFamily().pretrained(str(folder), None, length=12)
        assert error.value.code == "model.other-family"

    def test_its_config_must_fit_its_weights(self, folder):
        self.edit(folder, intermediate_size=50)
        refuse(folder, "model.unreadable", "cannot be loaded")

    def test_its_config_must_not_ask_for_more_layers_than_it_has(self, folder):
        self.edit(folder, num_hidden_layers=4)
        refuse(folder, "model.incomplete", r"lacks the weights encoder\.layer\.3\..* and 13 more")

    def test_quantized_weights_are_refused(self, folder):
        self.edit(folder, quantization_config={"quant_method": "bitsandbytes"})
        refuse(folder, "model.bad-config", "describes quantized weights")

    def test_code_beside_the_weights_is_not_run(self, folder):
        (folder / "evil.py").write_text("raise SystemExit('ran')")
        self.edit(folder, auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Config"})
        assert load(folder).depth == 3

    def edit(self, folder, **changes):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


class TestWeights:
    def test_pickled_ones_alone_are_refused_unread(self, folder, tmp_path):
        (folder / "model.safetensors").unlink()

        class Bomb:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "exploded",))

        torch.save({"weights": Bomb()}, folder / "pytorch_model.bin")
        error = refuse(folder, "model.no-safetensors", r"only pytorch_model\.bin, which may run")
        assert "save_pretrained" in error.hint
        assert not (tmp_path / "exploded").exists()

    def test_none_at_all_are_refused(self, folder):
        (folder / "model.safetensors").unlink()
        refuse(folder, "model.no-safetensors", "has no weights")

    def test_damaged_ones_are_refused(self, folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
        refuse(folder, "model.unreadable", "cannot be loaded")

    def test_a_missing_one_is_refused(self, folder):
        path = folder / "model.safetensors"
        weights = load_file(path)
        del weights["encoder.layer.1.output.dense.weight"]
        save_file(weights, path, metadata={"format": "pt"})
        refuse(folder, "model.incomplete", r"lacks the weights encoder\.layer\.1\.output\.dense")


class TestShards:
    @pytest.fixture
    def sharded(self, save, folder) -> Path:
        (folder / "model.safetensors").unlink()
        save("bert").model.save_pretrained(folder, max_shard_size="20KB")
        (folder / "model.safetensors").unlink()
        assert (folder / "model.safetensors.index.json").is_file()
        return folder

    def test_they_are_loaded(self, sharded):
        assert load(sharded).depth == 3

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("../elsewhere.safetensors", "no plain file name"),
            ("/etc/passwd", "no plain file name"),
            ("pytorch_model.bin", r"no \.safetensors file"),
            (7, "no plain file name"),
        ],
    )
    def test_they_must_lie_in_the_folder(self, sharded, name, message):
        path = sharded / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        index["weight_map"]["embeddings.LayerNorm.bias"] = name
        path.write_text(json.dumps(index))
        refuse(sharded, "model.bad-config", message)

    @pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": []}'])
    def test_their_index_must_be_one(self, sharded, text):
        (sharded / "model.safetensors.index.json").write_text(text)
        refuse(sharded, "model.bad-config", "cannot be read")


class TestHub:
    @pytest.fixture(autouse=True)
    def empty_cache(self, monkeypatch, tmp_path):
        """No network, and nothing fetched before: the library's own offline mode."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def test_a_name_that_cannot_be_fetched_asks_for_a_folder(self):
        with pytest.raises(ModelError, match="'nobody/nothing' is no local folder") as error:
            source_folder("nobody/nothing")
        assert error.value.code == "model.hub"
        assert "give its folder" in error.value.hint

    def test_the_revision_is_named(self):
        with pytest.raises(ModelError, match="did not give it at revision 'v7'"):
            source_folder("nobody/nothing", "v7")

    @pytest.mark.parametrize("name", ["", "no body", "a--b", "x" * 9000, "a\0b", "~nobody/x"])
    def test_a_name_that_is_none_is_refused(self, name):
        with pytest.raises(ModelError) as error:
            source_folder(name)
        assert error.value.code in ("model.hub", "model.no-source")


def test_loading_is_quiet_and_leaves_transformers_as_it_was(folder, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(folder)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
