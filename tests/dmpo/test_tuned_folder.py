"""Writing a tuned folder, and compiling it as it is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import edgeexit
from edgeexit.cli.main import main
from edgeexit.dmpo import export
from edgeexit.dmpo.build import build_model
from edgeexit.dmpo.config import BackboneConfig, ExitsConfig
from edgeexit.dmpo.data.normalize import Normalize
from edgeexit.dmpo.tuned_folder import check_output, write_tuned
from edgeexit.errors import BundleError, InputError, ModelError
from edgeexit.tuned import TunedFolder
from tests.dmpo import tiny

FAMILY = "small-vit"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the model, its data and its folder."""
    model, data = tiny.model(FAMILY), tiny.data(FAMILY)
    folder = tmp_path_factory.mktemp("runs") / "fashion"
    before = {name: value.clone() for name, value in model.state_dict().items()}
    write_tuned(model, tiny.config(FAMILY), data, {"epochs": [{"loss": 0.5}]}, folder)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return model, data, folder


def test_the_folder_says_what_it_holds(written):
    _, data, folder = written
    tuned = TunedFolder.open(folder)
    assert tuned.record.name == FAMILY
    assert tuned.record.method == "dmpo"
    assert tuned.record.classes == tiny.CLASSES
    assert tuned.record.exits == ("exit_1", "exit_2", "exit_3", "exit_4")
    assert tuned.record.after == (1, 2, 3, 4)
    assert tuned.record.inputs == data.inputs
    assert tuned.report == {"epochs": [{"loss": 0.5}]}
    assert tuned.config["exits"]["predictor"] == list(tiny.PREDICTORS)
    assert {"edgeexit", "torch", "peft", "transformers"} <= tuned.record.versions.keys()
    names = [entry.path for entry in tuned.record.files]
    assert names == ["calibration.npz", "model.onnx", "model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "tuned.json"]


def test_parity_was_measured_on_all_that_was_held_out(written):
    _, _, folder = written
    parity = TunedFolder.open(folder).record.parity
    assert (parity.samples, parity.held_out, parity.flips) == (100, True, (0, 0, 0, 0))
    assert 0 < max(parity.max_abs_difference) <= 1e-4


def test_the_calibration_set_is_the_one_that_was_kept(written):
    _, data, folder = written
    with np.load(folder / "calibration.npz") as arrays:
        assert set(arrays) == {"image", "y", "classes"}
        np.testing.assert_array_equal(arrays["image"], data.calibration.inputs["image"])
        np.testing.assert_array_equal(arrays["y"], data.calibration.labels)
        assert tuple(arrays["classes"]) == tiny.CLASSES


def test_the_weights_are_merged(written):
    model, _, folder = written
    weights = load_file(folder / "model.safetensors")
    merged = export.merge(export.on_cpu(model)).state_dict()
    assert weights.keys() == merged.keys()
    assert not [name for name in weights if "lora" in name or "beta" in name]
    for name, value in weights.items():
        np.testing.assert_allclose(value, merged[name].numpy(), atol=1e-7)


def test_no_path_of_this_machine_is_in_the_graph(written):
    _, _, folder = written
    graph = (folder / "model.onnx").read_bytes()
    assert b".py" not in graph
    assert b"/" + b"edgeexit" not in graph


@pytest.mark.slow
def test_it_compiles_as_it_is(written, tmp_path, monkeypatch, capfd):
    _, _, folder = written
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["compile", str(folder), "--json"])
    assert not done.value.code
    answer = json.loads(capfd.readouterr().out)
    assert answer["name"] == FAMILY
    assert answer["classes"] == list(tiny.CLASSES)
    assert [stage["exit"] for stage in answer["stages"]] == ["exit_1", "exit_2", "exit_3", "exit_4"]
    assert answer["parity"]["inputs"] == "real"
    provenance = edgeexit.Bundle.open(tmp_path / "fashion.eex").manifest.provenance
    assert provenance.source == f"{FAMILY} (tuned with dmpo)"
    assert provenance.source_sha256 == TunedFolder.open(folder).digest


@pytest.mark.slow
def test_int8_is_quantized_on_the_folder_s_own_data(written, tmp_path):
    _, _, folder = written
    bundle = edgeexit.compile_model(folder, tmp_path / "b.eex", precision="int8")
    assert bundle.manifest.precision == "int8"
    assert bundle.parity()["vs_float"]


def test_a_tuned_folder_is_replaced_and_anything_else_left_alone(written, tmp_path):
    _, _, folder = written
    check_output(folder)
    check_output(tmp_path / "new")
    check_output(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="is no tuned folder; it is left alone") as caught:
        check_output(tmp_path)
    assert caught.value.code == "tuned.output-exists"


def test_a_failing_export_leaves_the_old_folder(written, tmp_path):
    model, data, folder = written
    digest = TunedFolder.open(folder).digest
    broken = export.on_cpu(model)
    with torch.no_grad():
        broken.exits[1].predictor.classifier.bias[0] = float("nan")
    with pytest.raises(ModelError, match="exit 2") as caught:
        write_tuned(broken, tiny.config(FAMILY), data, {}, folder)
    assert caught.value.code == "model.tuned-parity"
    assert TunedFolder.open(folder).digest == digest
    assert [path.name for path in folder.parent.iterdir() if ".new-" in path.name] == []


def test_groups_go_to_calibrate_and_the_tokenizer_to_the_app(tmp_path):
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red")
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    config = replace(tiny.config("bert"), exits=ExitsConfig((1,)))
    model, data = build_model(config, len(tiny.CLASSES)), tiny.data("bert", calibration=6)
    data = replace(data, calibration=replace(data.calibration, group=np.arange(6) // 2))
    config = replace(config, backbone=BackboneConfig(source=str(tmp_path)))
    folder = write_tuned(model, config, data, {}, tmp_path / "out")
    with np.load(folder.path / "calibration.npz") as arrays:
        assert arrays["group"].tolist() == [0, 0, 1, 1, 2, 2]
    tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
    assert tokenizer.encode("red").ids == [2, 5, 3]


def test_a_model_of_one_exit_is_no_bundle(tmp_path):
    config = replace(tiny.config(FAMILY), exits=ExitsConfig((2,)))
    model, data = build_model(config, len(tiny.CLASSES)), tiny.data(FAMILY, calibration=4)
    model.preprocess = Normalize((0.5,) * 3, (0.5,) * 3)
    write_tuned(model, config, data, {}, tmp_path / "out")
    with pytest.raises(ModelError, match="tuned with one exit, after block 2") as caught:
        edgeexit.compile_model(tmp_path / "out", tmp_path / "b.eex")
    assert caught.value.code == "model.single-output"


def test_nothing_held_out_compares_on_training_data_and_says_so():
    data = tiny.data(FAMILY)
    nothing = data.calibration.take(np.arange(0))
    samples, kept = export.held_out(replace(data, calibration=nothing, validation=nothing))
    assert (len(samples), kept) == (20, False)
    samples, kept = export.held_out(data, 50)
    assert (len(samples), kept) == (50, True)
    np.testing.assert_array_equal(samples.labels, data.calibration.labels[:50])


def test_logits_that_differ_are_refused_by_size():
    ours = [np.asarray([[20.0, 0.0]], np.float32)]
    near = export.compare(ours, [ours[0] + np.float32(1e-3)], held_out=True)
    assert near.flips == (0,)
    with pytest.raises(ModelError, match=r"logits by up to 0\.01"):
        export.compare(ours, [ours[0] + np.float32(1e-2)], held_out=True)


def test_an_input_the_data_lacks_is_named():
    model = tiny.model("bert")
    tokens = tiny.inputs("bert", 2)
    with pytest.raises(InputError, match="the backbone reads input_ids, attention_mask") as caught:
        export.model_inputs(model, {"input_ids": tokens["input_ids"], "types": tokens["input_ids"]})
    assert caught.value.code == "tune.inputs"
