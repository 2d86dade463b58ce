"""From outputs of all exits to records."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.calibrate.builder import RecordBuilder
from edgeexit.calibrate.records import GateLayout
from edgeexit.calibrate.temperature import fit_temperature
from edgeexit.errors import InputError
from tests.calibrate.synthetic import (
    STATISTICS,
    make_records,
    random_feature_logits,
    statistics_gate,
)

TINY = GateLayout("tiny", 1, ("a",), (1.0, 1.0))


def outputs(samples=60, exits=3, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    logits = [rng.normal(size=(samples, classes)).astype(np.float32) for _ in range(exits)]
    features = [rng.normal(size=(samples, 1)).astype(np.float32) for _ in range(exits - 1)]
    return logits, features, rng.integers(0, classes, samples)


def test_by_hand_without_labels():
    logits = [np.tile([[1.0, 0.0], [0.0, 3.0]], (25, 1)), np.tile([[2.0, 0.0]], (50, 1))]
    builder = RecordBuilder(TINY, 2)
    builder.add(logits, [np.arange(50.0)[:, None]])
    records = builder.build("d")
    belief = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(
        records.soft[:2], [[belief, belief], [1 - belief, belief]], rtol=1e-6
    )
    np.testing.assert_array_equal(records.quality[:2], [[1, 1], [0, 1]])
    assert records.quality_kind == "agreement"
    assert records.last_temperature == 1.0
    assert records.data_sha256 == "d"
    assert records.features.dtype == records.soft.dtype == records.quality.dtype == np.float32
    np.testing.assert_array_equal(records.features[:, 0, 0], np.arange(50))


def test_quality_with_labels_is_correctness():
    logits, features, labels = outputs()
    builder = RecordBuilder(TINY, 3)
    builder.add(logits, features, labels, np.arange(60))
    records = builder.build()
    wanted = np.stack([a.argmax(axis=1) == labels for a in logits], axis=1)
    np.testing.assert_array_equal(records.quality, wanted)
    assert records.quality_kind == "accuracy"
    np.testing.assert_array_equal(records.group, np.arange(60))


@pytest.mark.parametrize("sizes", [[60], [7] * 8 + [4], [20, 39, 1]])
def test_batches_do_not_matter(sizes):
    logits, features, labels = outputs()
    whole, parts = RecordBuilder(TINY, 3, held=30), RecordBuilder(TINY, 3, held=30)
    whole.add(logits, features, labels)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        parts.add([a[part] for a in logits], [a[part] for a in features], labels[part])
        start += size
    left, right = whole.build(), parts.build()
    assert left.last_temperature == right.last_temperature
    np.testing.assert_array_equal(left.soft, right.soft)
    np.testing.assert_array_equal(left.features, right.features)


def test_only_the_first_samples_fit_the_temperature():
    logits, features, labels = outputs(200)
    builder = RecordBuilder(TINY, 3, held=80)
    builder.add(logits, features, labels)
    wanted = fit_temperature(logits[-1][:80].astype(float), labels[:80])
    assert builder.build().last_temperature == pytest.approx(wanted, rel=1e-6)


def test_reused_buffers_do_not_reach_the_records():
    logits, features, labels = outputs()
    builder = RecordBuilder(TINY, 3, held=10)
    kept = [a.copy() for a in features]
    builder.add(logits, features, labels)
    for array in (*logits, *features):
        array[:] = 0
    np.testing.assert_array_equal(builder.build().features, np.stack(kept, axis=1))


def test_temperature_is_found_again():
    rng = np.random.default_rng(0)
    true = 2 * rng.normal(size=(20_000, 5))
    p = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(3 * true, labels) == pytest.approx(3.0, abs=0.1)


def test_temperature_stays_within_bounds_without_an_error():
    logits = np.eye(4)[np.arange(100) % 4]
    assert fit_temperature(logits, np.arange(100) % 4) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(logits, (np.arange(100) + 1) % 4) == pytest.approx(20.0, rel=1e-3)


def test_soft_labels_are_calibrated_on_a_real_classifier():
    records = make_records(5000, 3)
    gap = records.soft.mean(axis=0) - records.quality.mean(axis=0)
    assert abs(gap[-1]) < 0.02
    fresh = make_records(5000, 4)
    logits, labels = random_feature_logits(5000, 4)
    np.testing.assert_array_equal(fresh.quality[:, -1], logits[-1].argmax(axis=1) == labels)
    np.testing.assert_array_equal(fresh.features[:, 1], statistics_gate(logits)[1])
    assert fresh.gate is STATISTICS


def test_exits_with_other_classes_fall_back_to_hard_quality():
    logits, features, labels = outputs()
    logits[0] = logits[0][:, :3]
    builder = RecordBuilder(TINY, 3)
    builder.add(logits, features, labels)
    records = builder.build()
    np.testing.assert_array_equal(records.soft, records.quality)


def add(logits, features, labels=None, group=None):
    builder = RecordBuilder(TINY, 3)
    first = outputs(10)
    builder.add(first[0], first[1], first[2] if labels is not None else None)
    builder.add(logits, features, labels, group)


@pytest.mark.parametrize("bad", [4, -1, 255])
def test_label_out_of_range(bad):
    logits, features, labels = outputs()
    labels[7] = labels[9] = bad
    with pytest.raises(InputError) as error:
        add(logits, features, labels)
    assert error.value.code == "data.labels"
    assert f"label {bad} of sample 17 is out of range" in error.value.message
    assert "4 classes, 0 to 3 (2 such labels)" in error.value.message


@pytest.mark.parametrize(
    "labels", [np.zeros(60), np.zeros((60, 4), dtype=int), np.zeros(59, dtype=int)]
)
def test_labels_of_another_kind(labels):
    logits, features, _ = outputs()
    with pytest.raises(InputError, match="right is one integer for each of the 60 samples"):
        add(logits, features, labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite(value):
    logits, features, labels = outputs()
    logits[2][5, 1] = value
    with pytest.raises(InputError, match=r"logits of exit 3 are not finite for sample 15 \(1 such"):
        add(logits, features, labels)
    logits, features, labels = outputs()
    features[1][[6, 8]] = value
    message = r"features of gate 2 are not finite for sample 16 \(2 such"
    with pytest.raises(InputError, match=message):
        add(logits, features, labels)


def test_outputs_of_another_shape():
    logits, features, labels = outputs()
    with pytest.raises(InputError, match="logits of 2 exits and features of 2 gates"):
        add(logits[:2], features, labels)
    with pytest.raises(
        InputError, match=r"features of gate 1 have shape \(59, 1\); right is \(60, 1"
    ):
        add(logits, [features[0][:59], features[1]], labels)
    with pytest.raises(
        InputError, match=r"logits of exit 2 have shape \(3, 4\); right is \(60, cl"
    ):
        add([logits[0], logits[1][:3], logits[2]], features, labels)
    builder = RecordBuilder(TINY, 3)
    with pytest.raises(InputError, match=r"groups are float64 of shape \(60,\)"):
        builder.add(logits, features, labels, np.zeros(60))


def test_labels_for_some_batches_only():
    logits, features, labels = outputs()
    builder = RecordBuilder(TINY, 3)
    builder.add(logits, features, labels)
    with pytest.raises(InputError, match="right is all or none"):
        builder.add(logits, features)


@pytest.mark.parametrize("samples", [0, 1, 49])
def test_too_few_samples(samples):
    builder = RecordBuilder(TINY, 3)
    if samples:
        builder.add(*outputs(samples))
    with pytest.raises(InputError) as error:
        builder.build()
    assert error.value.message.startswith(f"{samples} samples are too few")
    assert "1000 samples or more" in error.value.hint
