"""Answers against numpy, on both engines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import gate_features, make_inputs, make_sequences, reference, seq_reference, write_bundle

from edgeexit.bundle.specs import Compaction
from edgeexit.runtime.runtime import Runtime
from edgeexit.targets.processor import read_processor

TOLERANCE = {"rtol": 0, "atol": 2e-6}


def check_against(result, expected, exits):
    np.testing.assert_array_equal(result.exits, exits)
    wanted = np.stack([expected[f"logits{k}"][i] for i, k in enumerate(exits)])
    np.testing.assert_allclose(result.logits, wanted, **TOLERANCE)
    np.testing.assert_array_equal(result.labels, wanted.argmax(1))
    if (exits == 2).any():
        np.testing.assert_allclose(
            result.outputs["boxes2"], expected["boxes2"][exits == 2], **TOLERANCE
        )
    else:
        assert "boxes2" not in result.outputs


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 31, 32, 33, 70])
def test_all_exits_equal_numpy(runtime, rows):
    inputs = make_inputs(rows, seed=rows)
    expected = reference(inputs)
    found = runtime.all_exits(inputs)
    for k in range(3):
        np.testing.assert_allclose(found.logits[k], expected[f"logits{k + 1}"], **TOLERANCE)
    for features, scores, wanted in zip(
        found.features, found.scores, gate_features(expected), strict=True
    ):
        np.testing.assert_allclose(features, wanted, **TOLERANCE)
        # The default parameters weigh the top probability alone.
        np.testing.assert_allclose(scores, wanted[:, 0], **TOLERANCE)


def test_without_calibration_every_sample_goes_to_the_last_exit(runtime):
    inputs = make_inputs(5)
    result = runtime(inputs)
    assert not runtime.calibrated
    assert runtime.budget is None
    check_against(result, reference(inputs), np.full(5, 3))
    assert np.isnan(result.scores).all()
    assert result.cost == pytest.approx((3 * 400 + 2 * 20) / 1200)
    assert result.valid.all()


@settings(max_examples=60, deadline=None)
@given(exits=st.lists(st.integers(1, 3), min_size=1, max_size=80), seed=st.integers(0, 5))
def test_any_pattern_of_exits_gives_each_row_its_own_answer(runtime, exits, seed):
    exits = np.array(exits)
    inputs = make_inputs(len(exits), seed)
    check_against(runtime.run_to(inputs, exits), reference(inputs), exits)


def test_rows_of_a_batch_equal_single_calls(runtime):
    inputs = make_inputs(40, seed=3)
    exits = np.random.default_rng(1).integers(1, 4, 40)
    batch = runtime.run_to(inputs, exits)
    for row, number in enumerate(exits):
        one = runtime.run_to({name: a[row : row + 1] for name, a in inputs.items()}, int(number))
        np.testing.assert_allclose(one.logits[0], batch.logits[row], rtol=0, atol=1e-6)
        np.testing.assert_allclose(one.scores[0], batch.scores[row], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(one.exits, [number])
        assert one.costs[0] == batch.costs[row]
        assert set(one.outputs) == ({"boxes2"} if number == 2 else set())


def test_a_sample_without_its_batch_axis_is_one_sample(runtime):
    inputs = make_inputs(4)
    result = runtime({name: array[2] for name, array in inputs.items()})
    assert result.logits.shape == (1, 5)
    np.testing.assert_allclose(result.logits, reference(inputs)["logits3"][2:3], **TOLERANCE)


def test_strided_inputs_are_read_as_they_are(runtime):
    inputs = make_inputs(20)
    strided = {name: np.asfortranarray(array)[::2] for name, array in inputs.items()}
    wanted = reference({name: array[::2] for name, array in inputs.items()})["logits3"]
    np.testing.assert_allclose(runtime(strided).logits, wanted, **TOLERANCE)


@pytest.mark.parametrize("device", ["cpu", "x86"])
def test_a_dynamic_second_axis(seq_bundle, device):
    with Runtime(seq_bundle, target=device, threads=1) as runtime:
        # More lengths than lanes are kept, and back to the first.
        for length in [*range(1, 20), 3, 1]:
            for rows in (1, 5):
                x = make_sequences(rows, length, seed=length)
                exits = np.arange(rows) % 3 + 1
                expected = seq_reference({"x": x})
                result = runtime.run_to(x, exits)
                wanted = np.stack([expected[f"logits{k}"][i] for i, k in enumerate(exits)])
                np.testing.assert_allclose(result.logits, wanted, **TOLERANCE)


@pytest.mark.parametrize("max_batch", [1, 3, 8])
def test_chunks_of_the_largest_batch(toy_bundle, max_batch):
    with Runtime(toy_bundle, threads=1, max_batch=max_batch) as runtime:
        inputs = make_inputs(19)
        exits = np.arange(19) % 3 + 1
        with runtime.profile() as profile:
            check_against(runtime.run_to(inputs, exits), reference(inputs), exits)
        stage = profile.summary().stages[0]
        assert stage.runs == -(-19 // max_batch)


def test_without_compaction_samples_run_one_by_one(tmp_path):
    bundle = write_bundle(tmp_path, compaction=Compaction(False, "w1 has no batch axis"))
    with Runtime(bundle, threads=1) as runtime, runtime.profile() as profile:
        inputs = make_inputs(6)
        exits = np.array([1, 2, 3, 3, 2, 1])
        check_against(runtime.run_to(inputs, exits), reference(inputs), exits)
        stages = profile.summary().stages
    assert [(stage.runs, stage.slots) for stage in stages] == [(6, 6), (4, 4), (2, 2)]


def test_survivors_run_in_the_smallest_bucket_that_holds_them(runtime):
    exits = np.array([1] * 13 + [2] * 14 + [3] * 5)
    with runtime.profile() as profile:
        runtime.run_to(make_inputs(32), exits)
    summary = profile.summary()
    assert [stage.slots for stage in summary.stages] == [32, 24, 6]
    exits[:16] = 1
    with runtime.profile() as profile:
        runtime.run_to(make_inputs(32), exits)
    assert [stage.slots for stage in profile.summary().stages] == [32, 16, 6]
    np.testing.assert_array_equal(profile.summary().exits, [16, 11, 5])


@pytest.mark.skipif(not read_processor().computes_bf16, reason="the processor has no bf16")
def test_boundaries_in_bf16_survive_compaction(tmp_path):
    bundle = write_bundle(tmp_path, device="x86", precision="bf16")
    inputs = make_inputs(64)
    exits = np.random.default_rng(2).integers(1, 4, 64)
    with Runtime(bundle, threads=1) as runtime:
        lane = next(iter(runtime._engines)).lane(4, ())
        assert {name for name, b in lane._buffers.items() if b.dtype == "bfloat16"} == {
            "w1", "t1", "scale", "h2",
        }  # fmt: skip
        everything = runtime.all_exits(inputs)
        result = runtime.run_to(inputs, exits)
        for row, number in enumerate(exits):
            wanted = everything.logits[number - 1][row]
            np.testing.assert_allclose(result.logits[row], wanted, rtol=0, atol=0.02)
        expected = reference(inputs)
        for k in range(3):
            assert everything.logits[k].dtype == np.float32
            np.testing.assert_allclose(everything.logits[k], expected[f"logits{k + 1}"], atol=0.1)
        # Gates compute in float32: the scores are those of the logits that came out.
        for features, wanted in zip(
            everything.features,
            gate_features({f"logits{k + 1}": everything.logits[k] for k in range(3)}),
            strict=True,
        ):
            np.testing.assert_allclose(features[:, 0], wanted[:, 0], rtol=0, atol=1e-6)
