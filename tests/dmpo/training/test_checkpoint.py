"""Checkpoints: complete, checked, and nothing in them that runs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from edgeexit.dmpo.training.checkpoint import (
    Checkpoint,
    clear_half_written,
    frozen_sha256,
    latest_checkpoint,
    load_checkpoint,
    load_optimizer,
    load_weights,
    optimizer_tensors,
    save_checkpoint,
    trained_weights,
)
from edgeexit.errors import BundleError, ResourceError
from tests.dmpo.training.tiny import build, config_of, with_method


def checkpoint_at(step):
    return Checkpoint(
        weights={"w": torch.arange(6.0).reshape(2, 3), "beta": torch.tensor(1.5)},
        best={},
        optimizer={"0.step": torch.tensor(3.0)},
        random={"states": torch.arange(8, dtype=torch.uint8)[None]},
        state={"training": {"step": step}},
    )


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name])
        assert value.dtype == second[name].dtype


def test_what_is_saved_is_loaded(tmp_path):
    written = checkpoint_at(7)
    read = load_checkpoint(save_checkpoint(tmp_path, written))
    for part in ("weights", "best", "optimizer", "random"):
        assert_same(getattr(written, part), getattr(read, part))
    assert read.state == {"training": {"step": 7}}


def test_only_the_newest_stays(tmp_path):
    save_checkpoint(tmp_path, checkpoint_at(9))
    place = save_checkpoint(tmp_path, checkpoint_at(10))
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000000010"]
    assert latest_checkpoint(tmp_path) == place


def test_a_half_written_one_is_not_read_and_is_cleared(tmp_path):
    place = save_checkpoint(tmp_path, checkpoint_at(1))
    half = tmp_path / ".half-00"
    shutil.copytree(place, half)
    assert latest_checkpoint(tmp_path) == place
    clear_half_written(tmp_path)
    assert not half.exists()


def test_no_folder_holds_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path / "absent") is None


def test_nothing_is_pickled(tmp_path):
    place = save_checkpoint(tmp_path, checkpoint_at(1))
    names = {path.name for path in place.iterdir()}
    assert names == {
        "weights.safetensors",
        "optimizer.safetensors",
        "random.safetensors",
        "state.json",
    }
    json.loads((place / "state.json").read_text())


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "link"])
def test_a_damaged_file_is_refused(tmp_path, name, harm):
    place = save_checkpoint(tmp_path / "run", checkpoint_at(1))
    path = place / name
    data = bytearray(path.read_bytes())
    path.unlink()
    if harm == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    elif harm == "cut":
        path.write_bytes(data[:-3])
    elif harm == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(BundleError) as caught:
        load_checkpoint(place)
    assert caught.value.code == "tune.checkpoint"
    assert name in caught.value.message
    assert "--restart" in caught.value.hint


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    place = save_checkpoint(tmp_path, checkpoint_at(1))

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(ResourceError) as caught:
            save_checkpoint(tmp_path, checkpoint_at(2))
    assert caught.value.code == "resource.disk-full"
    assert [path.name for path in tmp_path.iterdir()] == [place.name]
    assert load_checkpoint(place).state == {"training": {"step": 1}}


def test_frozen_weights_are_not_saved_and_buffers_are():
    model = build(config_of())
    model.backbone.requires_grad_(requires_grad=False)
    names = set(trained_weights(model))
    assert {name for name in names if name.startswith("backbone.")} == set()
    assert {"preprocess.scale", "exits.0.beta"} <= names


def test_weights_are_copies_that_go_back_in():
    model = build(config_of())
    before = trained_weights(model)
    with torch.no_grad():
        for each in model.parameters():
            each.add_(1.0)
    assert not torch.equal(trained_weights(model)["exits.0.beta"], before["exits.0.beta"])
    load_weights(model, before)
    assert_same(trained_weights(model), before)


def test_weights_of_another_model_are_refused():
    model = build(config_of())
    weights = trained_weights(model)
    weights["exits.0.beta"] = torch.ones(2)
    with pytest.raises(BundleError, match=r"another model: 'exits\.0\.beta' differs"):
        load_weights(model, weights)


def test_the_optimizers_state_goes_back_in():
    def stepped(parameters, gradients):
        optimizer = torch.optim.AdamW(parameters, fused=True)
        for gradient in gradients:
            parameters[0].grad = torch.full_like(parameters[0], gradient)
            optimizer.step()
        return optimizer

    parameter = torch.nn.Parameter(torch.ones(3))
    state = optimizer_tensors(stepped([parameter], [1.0, 2.0]))
    assert set(state) == {"0.step", "0.exp_avg", "0.exp_avg_sq"}
    fresh = torch.optim.AdamW([parameter], fused=True)
    load_optimizer(fresh, state)
    assert_same(optimizer_tensors(fresh), state)
    with pytest.raises(BundleError, match=r"'1\.step' does not fit"):
        load_optimizer(fresh, {"1.step": torch.tensor(1.0)})


def test_the_digest_is_of_what_nothing_trains():
    model = build(with_method(config_of(), "frozen"))
    before = frozen_sha256(model)
    with torch.no_grad():
        model.exits[0].beta.fill_(3.0)
    assert frozen_sha256(model) == before
    with torch.no_grad():
        next(model.backbone.parameters()).flatten()[0] += 1.0
    assert frozen_sha256(model) != before
