"""What is measured: profiles, whole models, comparisons. Numbers are checked, never times."""

from __future__ import annotations

import numpy as np
import pytest
from families import make_family
from toy import LOGITS, make_inputs, make_sequences, reference, seq_reference, write_bundle

from edgeexit.bundle.cache import DeviceCache
from edgeexit.bundle.codec import encode
from edgeexit.datasets import Dataset
from edgeexit.errors import InputError
from edgeexit.runtime.bench import compare
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.profile import (
    keep_profile,
    kept_profile,
    load_or_measure,
    measure_profile,
)
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.timing import Ratio, TimeStats
from edgeexit.runtime.whole import WholeModel
from tests.runtime.power.test_conditions import MODE, plant_jetson


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("device", ["cpu", "x86"])
@pytest.mark.parametrize("batch", [1, None])
def test_whole_models_equal_numpy_and_the_stages(toy_bundle, device, batch):
    machine = Machine.of(toy_bundle, device, 1)
    static = WholeModel.of_bundle(toy_bundle, machine, batch=batch)
    whole = WholeModel.of_bundle(toy_bundle, machine, "whole", batch=batch)
    with Runtime(toy_bundle, target=device, threads=1) as runtime:
        for rows in (1,) if batch else (1, 2, 32, 5):
            inputs = make_inputs(rows)
            expected = reference(inputs)
            (logits,) = static(inputs)
            np.testing.assert_allclose(logits, expected["logits3"], atol=2e-6)
            outputs = dict(zip([s.name for s in whole.outputs], whole(inputs), strict=True))
            assert set(outputs) == {"logits1", "logits2", "logits3", "boxes2"}
            for name, array in outputs.items():
                np.testing.assert_allclose(array, expected[name], atol=2e-6)
            staged = runtime.all_exits(inputs).logits
            for spec, array in zip(LOGITS, staged, strict=True):
                np.testing.assert_allclose(array, outputs[spec.name], atol=1e-6)
    static.close()
    whole.close()


def test_a_whole_model_with_a_dynamic_axis(seq_bundle):
    whole = WholeModel.of_bundle(seq_bundle, which="whole")
    for length in range(1, 20):
        x = make_sequences(2, length)
        expected = seq_reference({"x": x})
        for k, logits in enumerate(whole(x), start=1):
            np.testing.assert_allclose(logits, expected[f"logits{k}"], atol=2e-6)
    with pytest.raises(InputError):
        whole(make_inputs(1))
    whole.close()


def test_a_profile_is_measured_once_and_kept(toy_bundle, cache):
    with Runtime(toy_bundle, threads=1) as runtime:
        profile = load_or_measure(runtime, seconds=0.01)
        assert list(cache.rglob("profile.json"))
        assert load_or_measure(runtime, seconds=0.01) == profile
        table = profile.cost_table()
        assert table.kind == "latency"
        assert table.fingerprint == runtime.machine.fingerprint
        assert 0 < table.per_exit[0] < table.per_exit[1] < table.per_exit[2]
        assert table.static == profile.batches[0].static.p50
        assert table.per_exit[2] == pytest.approx(
            max(profile.batches[0].call.p50, sum(s.p50 for s in profile.batches[0].stages))
        )
        store = DeviceCache(toy_bundle.digest, runtime.machine.fingerprint)
        older = encode(profile)
        del older["batches"][0]["static"]["p95"]
        store.write_json("profile", older)
        assert kept_profile(store) is None
        store.write_json("profile", {"fingerprint": 3})
        assert load_or_measure(runtime, seconds=0.01).fingerprint == table.fingerprint


def test_a_newer_profile_takes_the_place_of_the_kept_one(toy_bundle, cache):
    with Runtime(toy_bundle, threads=1) as runtime:
        first = load_or_measure(runtime, seconds=0.01)
        second = measure_profile(runtime, seconds=0.01)
        keep_profile(runtime, second)
        assert load_or_measure(runtime) == second != first


def test_times_of_another_power_mode_are_measured_again(toy_bundle, cache, tmp_path, caplog):
    root = plant_jetson(tmp_path / "root")
    with Runtime(toy_bundle, threads=1) as runtime:
        first = load_or_measure(runtime, seconds=0.01, root=root)
        assert first.cost_table().mode == MODE
        assert load_or_measure(runtime, seconds=0.01, root=root) == first
        (root / "var/lib/nvpmodel/status").write_text("pmode:0000\n")
        second = load_or_measure(runtime, seconds=0.01, root=root)
        assert second.cost_table().mode == MODE.replace("25W", "15W")
        assert load_or_measure(runtime, seconds=0.01, root=root) == second
    (warning,) = caplog.messages
    assert warning.startswith("the profile is measured again: it was in the mode 'power mode 25W")


def test_an_unwritable_cache_costs_nothing_but_the_measurement(toy_bundle, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("EDGEEXIT_CACHE", str(blocked))
    with Runtime(toy_bundle, threads=1) as runtime:
        assert len(load_or_measure(runtime, seconds=0.01).batches[0].stages) == 3


def test_a_profile_at_several_batches(toy_bundle):
    with Runtime(toy_bundle, threads=1) as runtime:
        profile = measure_profile(runtime, (8, 1, 32), seconds=0.01)
    assert [batch.batch for batch in profile.batches] == [1, 8, 32]
    for batch in profile.batches:
        assert batch.static.count >= 21
        assert batch.overhead >= 0


@pytest.mark.parametrize("labelled", [True, False])
def test_a_comparison(tmp_path, labelled):
    bundle = write_bundle(tmp_path)
    bundle.write_exits(make_family(bundle))
    inputs = make_inputs(50)
    truth = reference(inputs)["logits3"].argmax(1)
    labels = truth.copy()
    labels[:10] = (labels[:10] + 1) % 5
    dataset = Dataset(inputs, labels if labelled else None, None, None, "0" * 64)

    def small(machine, batch):
        """A static baseline of one's own: here the whole graph asked for its first exit."""
        path = bundle.file("whole.onnx")
        return WholeModel(
            machine, path, bundle.manifest.inputs, LOGITS[:1], batch=batch, name="small"
        )

    with Runtime(bundle, 0.6, threads=1) as runtime:
        report = compare(runtime, dataset, baselines=[small], batches=(1, 8), rounds=4)
        result = runtime(inputs)
    assert report.budget == "0.6"
    assert report.samples == 50
    assert report.cost == pytest.approx(result.cost)
    np.testing.assert_allclose(report.shares, np.bincount(result.exits - 1, minlength=3) / 50)
    quality = {entry.name: entry for entry in report.quality}
    assert set(quality) == {"edgeexit", "static", "small"}
    assert quality["static"].agreement == 1
    assert quality["edgeexit"].agreement == pytest.approx((result.labels == truth).mean())
    first = reference(inputs)["logits1"].argmax(1)
    assert quality["small"].agreement == pytest.approx((first == truth).mean())
    assert quality["static"].accuracy == (pytest.approx(0.8) if labelled else None)
    names = ("edgeexit", "static", "small", "static again")
    assert [(s.name, s.batch) for s in report.speed] == [(n, b) for b in (1, 8) for n in names]
    for speed in report.speed:
        assert speed.call.count == 4 * (16 if speed.batch == 1 else 2)
        assert speed.throughput == pytest.approx(1000 * speed.batch / speed.call.mean)
        assert speed.ratio.low <= speed.ratio.median <= speed.ratio.high
        if speed.name == "static":
            assert speed.ratio == Ratio(1.0, 1.0, 1.0, 1.0, 4)


def test_too_little_data_for_a_comparison(toy_bundle):
    dataset = Dataset(make_inputs(5), None, None, None, "0" * 64)
    with Runtime(toy_bundle, threads=1) as runtime, pytest.raises(InputError) as caught:
        compare(runtime, dataset)
    assert caught.value.code == "input.too-few"


def test_statistics():
    stats = TimeStats.of(np.arange(1.0, 102.0))
    assert stats == TimeStats(101, 51.0, 1.0, 51.0, 91.0, 96.0, 100.0)
    below = np.linspace(1.0, 2.0, 101)
    same = Ratio.of(0.5 * below, below)
    assert (same.median, same.of_minima, same.low, same.high) == (0.5, 0.5, 0.5, 0.5)
    noise = np.random.default_rng(0).normal(1.0, 0.1, 400)
    ratio = Ratio.of(np.full(400, 2.0) * noise, np.ones(400))
    assert 1.95 < ratio.low < ratio.median < ratio.high < 2.05
