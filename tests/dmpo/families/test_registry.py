from __future__ import annotations

import sys
import textwrap

import pytest
import torch

from edgeexit.dmpo.config import BackboneConfig
from edgeexit.dmpo.families import Family, family_of, find_family, load_backbone
from edgeexit.errors import InputError, ModelError

SMALL = {"width": 24, "depth": 2, "heads": 2}
THIRD_PARTY = """
from edgeexit.dmpo.families import Family
from edgeexit.dmpo.families.small_vit import SmallViTFamily

class TwiceFamily(Family):
    name = "twice"
    model_types = ("twice-net",)

    def pretrained(self, source, revision, *, length):
        return self.from_scratch({}, length=length)

    def from_scratch(self, settings, *, length):
        return SmallViTFamily().from_scratch({**settings, "depth": 2, "width": 6}, length=length)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with an entry point on the path, as pip does."""

    def write(code: str, entry: str = "twice = twice_families:TwiceFamily"):
        site = tmp_path / "site"
        info = site / "twice_families-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "twice_families.py").write_text(textwrap.dedent(code))
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: twice-families\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(f"[edgeexit.families]\n{entry}\n")
        monkeypatch.syspath_prepend(site)

    yield write
    sys.modules.pop("twice_families", None)


class TestFindFamily:
    @pytest.mark.parametrize("name", ["bert", "resnet", "small-vit", "vit"])
    def test_it_finds_each_that_comes_with_edgeexit(self, name):
        assert find_family(name).name == name

    def test_an_unknown_one_is_refused_with_a_guess(self):
        with pytest.raises(ModelError, match="there is no backbone family 'birt'") as error:
            find_family("birt")
        assert error.value.code == "model.unknown-family"
        assert "bert, resnet, small-vit, vit" in error.value.message
        assert error.value.hint.startswith("did you mean 'bert'?")

    def test_one_that_resembles_none_is_not_guessed(self):
        with pytest.raises(ModelError) as error:
            find_family("zzzz")
        assert "did you mean" not in error.value.hint


class TestThirdParty:
    def test_its_family_is_found_by_name(self, install):
        install(THIRD_PARTY)
        assert isinstance(find_family("twice"), Family)
        backbone = load_backbone(BackboneConfig(family="twice"), length=8)
        assert (backbone.depth, backbone.width(1)) == (2, 6)

    def test_its_family_is_found_by_model_type(self, install, tmp_path):
        install(THIRD_PARTY)
        (tmp_path / "config.json").write_text('{"model_type": "twice-net"}')
        assert family_of(str(tmp_path)).name == "twice"
        assert load_backbone(BackboneConfig(source=str(tmp_path)), length=8).depth == 2

    def test_its_family_is_listed_among_the_known(self, install):
        install(THIRD_PARTY)
        with pytest.raises(ModelError, match="bert, resnet, small-vit, twice, vit") as error:
            find_family("twiec")
        assert "did you mean 'twice'?" in error.value.hint

    def test_it_does_not_take_the_place_of_a_built_in_one(self, install):
        install(THIRD_PARTY, entry="bert = twice_families:TwiceFamily")
        assert find_family("bert").name == "bert"

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("import no_such_library", "cannot be loaded: No module named 'no_such_library'"),
            ("TwiceFamily = 3", "is 3, no subclass of Family"),
            (
                "from edgeexit.dmpo.families import Family\nclass TwiceFamily(Family):\n  pass\n",
                "cannot be built",
            ),
        ],
    )
    def test_a_broken_one_is_named(self, install, code, message):
        install(code)
        with pytest.raises(ModelError, match=message) as error:
            find_family("twice")
        assert error.value.code == "model.broken-family"
        assert "'twice-families'" in error.value.message


class TestFamilyOf:
    @pytest.mark.parametrize(
        ("kind", "family"),
        [
            ("bert", "bert"),
            ("roberta", "bert"),
            ("vit", "vit"),
            ("deit", "vit"),
            ("resnet-basic", "resnet"),
        ],
    )
    def test_the_config_says_which(self, save, kind, family):
        saved = save(kind)
        assert family_of(saved.folder).name == family
        backbone = load_backbone(BackboneConfig(source=saved.folder), length=12)
        assert backbone.depth == 3

    def test_an_unknown_model_type_is_refused_with_a_guess(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "robert"}')
        with pytest.raises(ModelError, match="no backbone family reads the model type") as error:
            family_of(str(tmp_path))
        assert error.value.code == "model.unknown-family"
        assert "bert, deit, resnet, roberta, vit" in error.value.message
        assert "did you mean 'roberta'?" in error.value.hint


class TestLoadBackbone:
    def test_a_family_and_settings_train_from_scratch(self):
        backbone = load_backbone(BackboneConfig("small-vit", settings=SMALL), length=1)
        assert (backbone.depth, backbone.width(1)) == (2, 24)

    def test_the_length_reaches_a_text_backbone(self, save):
        backbone = load_backbone(BackboneConfig(source=save("bert").folder), length=9)
        assert backbone.tokens(1) == 9

    def test_the_size_reaches_an_image_backbone(self, save):
        config = BackboneConfig(source=save("resnet-basic").folder)
        backbone = load_backbone(config, length=1, size=(32, 64))
        assert backbone.inputs[0].shape == (3, 32, 64)
        assert backbone.tokens(1) == 8 * 16

    def test_a_text_backbone_takes_no_images(self, save):
        config = BackboneConfig(source=save("bert").folder)
        with pytest.raises(InputError, match="which takes texts"):
            load_backbone(config, length=9, size=(28, 28))

    def test_a_family_that_is_not_the_source_s_is_refused(self, save):
        with pytest.raises(ModelError, match="'vit'; this family reads bert, roberta"):
            load_backbone(BackboneConfig("bert", source=save("vit").folder), length=9)

    def test_neither_family_nor_source_is_refused(self):
        with pytest.raises(InputError, match="neither source nor family") as error:
            load_backbone(BackboneConfig(), length=9)
        assert error.value.code == "input.backbone-missing"

    def test_settings_beside_a_source_are_refused(self, save):
        config = BackboneConfig(source=save("bert").folder, settings={"hidden_size": 4})
        with pytest.raises(InputError, match=r"settings \(hidden_size\)") as error:
            load_backbone(config, length=9)
        assert error.value.code == "input.backbone-settings"

    def test_weights_differ_from_seed_to_seed_only(self):
        config = BackboneConfig("small-vit", settings=SMALL)
        states = []
        for seed in (5, 5, 6):
            torch.manual_seed(seed)
            states.append(load_backbone(config, length=1).state_dict()["position"])
        assert torch.equal(states[0], states[1])
        assert not torch.equal(states[0], states[2])
