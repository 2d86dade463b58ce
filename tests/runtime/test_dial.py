"""Budgets, thresholds and parameters."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from families import make_family
from toy import gate_features, make_inputs, reference, write_bundle

from edgeexit.budget import Budget
from edgeexit.bundle.exits import CostTable
from edgeexit.errors import BudgetError, BundleError, InputError
from edgeexit.runtime.power import conditions
from edgeexit.runtime.power.conditions import Conditions
from edgeexit.runtime.runtime import Runtime
from edgeexit.targets.jetson import Clock


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path)


def expected_exits(scores, thresholds):
    """The one rule: the first exit whose score reaches its threshold, else the last."""
    leaves = np.stack([s >= np.float32(t) for s, t in zip(scores, thresholds, strict=True)], 1)
    return np.where(leaves.any(1), leaves.argmax(1), len(thresholds)) + 1


@pytest.mark.parametrize("device", ["cpu", "x86"])
@pytest.mark.parametrize("budget", [0.36, 0.5, 0.7, 0.9, 1.03])
def test_samples_leave_where_their_score_reaches_the_threshold(bundle, device, budget):
    params = ((2.0, 1.0, 0.125), (0.5, 1.5, -0.25))
    family = make_family(bundle, params=params)
    bundle.write_exits(family)
    inputs = make_inputs(90, seed=4)
    answers = reference(inputs)
    features = gate_features(answers, (2.0, 0.5))
    scores = [f @ np.array(p[1:], np.float32) for f, p in zip(features, params, strict=True)]
    thresholds = family.settings(Budget(budget)).thresholds
    exits = expected_exits(scores, thresholds)
    with Runtime(bundle, budget, target=device, threads=1) as runtime:
        result = runtime(inputs)
        near = np.min([np.abs(s - t) for s, t in zip(scores, thresholds, strict=True)], axis=0)
        assert (near > 1e-5).all()
        np.testing.assert_array_equal(result.exits, exits)
        for row in range(12):
            one = runtime({name: a[row] for name, a in inputs.items()})
            assert one.exits[0] == exits[row]
            np.testing.assert_allclose(one.scores, result.scores[row], rtol=0, atol=1e-6)
        early = exits < 3
        wanted = np.stack(scores, 1)[np.arange(90)[early], exits[early] - 1]
        np.testing.assert_allclose(result.scores[early], wanted, rtol=0, atol=2e-6)
        np.testing.assert_allclose(
            result.cost, np.asarray(bundle.manifest.flops_costs)[exits - 1].mean()
        )


def test_the_dial_moves_exits_and_back(bundle):
    bundle.write_exits(make_family(bundle))
    inputs = make_inputs(64)
    with Runtime(bundle, threads=1) as runtime:
        assert runtime.budget == Budget(0.7)
        costs = []
        for budget in (0.36, "0.5", 0.7, Budget(0.9)):
            runtime.budget = budget
            costs.append(runtime(inputs).cost)
            assert runtime(inputs).cost == costs[-1]
        assert costs == sorted(costs)
        assert costs[0] < costs[-1]
        runtime.budget = None
        assert (runtime(inputs).exits == 3).all()
        runtime.budget = 0.36
        assert runtime(inputs).cost == costs[0]


def test_a_budget_needs_calibrated_exits(bundle):
    with pytest.raises(BudgetError, match="has no exits") as caught:
        Runtime(bundle, 0.5)
    assert caught.value.code == "budget.uncalibrated"
    assert caught.value.hint == "run: edgeexit calibrate BUNDLE --data DATA --budget 0.5"


def test_a_refused_budget_leaves_the_old_one(bundle):
    bundle.write_exits(make_family(bundle))
    with Runtime(bundle, 0.5, threads=1) as runtime:
        before = runtime(make_inputs(30)).exits
        for budget, code in (
            (0.1, "budget.bounds"),
            (7.0, "budget.bounds"),
            ("8ms", "budget.kind"),
            ("soon", "budget.syntax"),
        ):
            with pytest.raises(BudgetError) as caught:
                runtime.budget = budget
            assert caught.value.code == code
        assert runtime.budget == Budget(0.5)
        np.testing.assert_array_equal(runtime(make_inputs(30)).exits, before)


def test_milliseconds_of_another_device_are_refused(bundle):
    table = CostTable("latency", (1.0, 2.0, 3.0), 2.9, "some other device")
    flops = CostTable("flops", bundle.manifest.flops_costs, 1.0)
    costs = {"latency": table, "flops": flops}
    bundle.write_exits(make_family(bundle, costs=costs, budget=Budget(0.5)))
    with Runtime(bundle, threads=1) as runtime:
        with pytest.raises(BudgetError, match="measured on 'some other device'") as caught:
            runtime.budget = "2ms"
        assert caught.value.code == "budget.device"
        here = CostTable("latency", (1.0, 2.0, 3.0), 2.9, runtime.machine.fingerprint)
        bundle.write_exits(make_family(bundle, costs={**costs, "latency": here}))
        runtime.reload()
        runtime.budget = "2ms"
        assert runtime.budget == Budget(2.0, "latency")


def test_millijoules_of_another_device_are_refused(bundle):
    table = CostTable("energy", (10.0, 20.0, 30.0), 29.0, "some other device", (), True)
    flops = CostTable("flops", bundle.manifest.flops_costs, 1.0)
    costs = {"energy": table, "flops": flops}
    bundle.write_exits(make_family(bundle, costs=costs, budget=Budget(0.5)))
    with Runtime(bundle, threads=1) as runtime:
        with pytest.raises(BudgetError, match="energy was estimated on 'some other device'") as e:
            runtime.budget = "20mJ"
        assert e.value.code == "budget.device"
        here = replace(table, fingerprint=runtime.machine.fingerprint)
        bundle.write_exits(make_family(bundle, costs={**costs, "energy": here}))
        runtime.reload()
        runtime.budget = "0.02J"
        assert runtime.budget == Budget(20.0, "energy")
        assert runtime.stats().budget == "20 mJ (estimated)"
        cheap = runtime(make_inputs(200)).cost
        runtime.budget = "28mJ"
        assert runtime(make_inputs(200)).cost > cheap
        with pytest.raises(BudgetError, match=r"from 10 mJ \(estimated\) to 30 mJ \(estimated\)"):
            runtime.budget = "9mJ"
    with Runtime(bundle, threads=1, exits=False) as plain:
        with pytest.raises(BudgetError) as caught:
            plain.budget = "20mJ"
        assert caught.value.hint.endswith("--budget 20mJ")


@pytest.mark.parametrize("kind", ["latency", "energy"])
def test_another_power_mode_than_calibrations_is_warned_of(bundle, caplog, monkeypatch, kind):
    now = Conditions(0.0, (Clock("cpu policy0", 9, 1_000_000, 2_000_000, "powersave"),), (), None)
    monkeypatch.setattr(conditions, "read_conditions", lambda _: now)
    with Runtime(bundle, threads=1) as runtime:
        fingerprint = runtime.machine.fingerprint
    flops = CostTable("flops", bundle.manifest.flops_costs, 1.0)
    for where, mode, warned in (
        (fingerprint, "cpu powersave 1-2 MHz", False),
        (fingerprint, "", False),
        ("another device", "cpu performance 1-2 MHz", False),
        (fingerprint, "cpu performance 1-2 MHz", True),
    ):
        table = CostTable(kind, (1.0, 2.0, 3.0), 2.9, where, mode=mode)
        bundle.write_exits(make_family(bundle, costs={kind: table, "flops": flops}))
        with Runtime(bundle, threads=1) as runtime:
            assert len(caplog.messages) == warned
            if warned:
                runtime.budget = Budget(2.0, kind)
    told = f"the {kind} of these exits may not hold here: it was in the mode"
    assert caplog.messages == [f"{told} '{mode}', this is 'cpu powersave 1-2 MHz'"]


def test_reload_takes_up_new_exits_or_keeps_the_old(bundle):
    with Runtime(bundle, threads=1) as runtime:
        path = bundle.write_exits(make_family(bundle))
        assert not runtime.calibrated
        runtime.reload()
        assert runtime.budget == Budget(0.7)
        before = runtime(make_inputs(50)).exits
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(BundleError):
            runtime.reload()
        np.testing.assert_array_equal(runtime(make_inputs(50)).exits, before)
        with pytest.raises(BundleError):
            Runtime(bundle, threads=1)
        with Runtime(bundle, threads=1, exits=False) as ignoring:
            assert not ignoring.calibrated


def test_exits_beside_the_bundle(bundle, tmp_path):
    other = bundle.write_exits(make_family(bundle), tmp_path / "field.json")
    with Runtime(bundle, 0.5, threads=1, exits=other) as runtime:
        assert runtime.calibrated


def test_a_dial_turned_during_calls_never_mixes_settings(bundle):
    # At budget A the score is +2 against thresholds of +1, at B it is -2 against -3: every
    # sample leaves at exit 1. Parameters of B with thresholds of A would send it on.
    with Runtime(bundle, threads=1) as runtime:
        make = type(runtime._dial)
        one = np.array([1, 0, 2], np.float32), np.array([1, 0, 2], np.float32)
        two = tuple(-p for p in one)
        x = {name: 20 * array for name, array in make_inputs(1).items()}
        assert runtime.all_exits(x).features[0][0, 1] == 1
        dials = make(None, one, (1.0, 1.0)), make(None, two, (-3.0, -3.0))
        mixed = make(None, two, (1.0, 1.0))
        runtime._dial = mixed
        assert runtime(x).exits[0] == 3
        runtime._dial = dials[0]
        stop = threading.Event()

        def turn():
            while not stop.is_set():
                for dial in dials:
                    runtime._dial = dial

        turner = threading.Thread(target=turn)
        turner.start()
        try:
            scores = set()
            for _ in range(3000):
                result = runtime(x)
                assert result.exits[0] == 1
                scores.add(float(result.scores[0]))
            assert scores == {2.0, -2.0}
        finally:
            stop.set()
            turner.join()


def test_exits_of_another_bundle_are_refused(bundle, seq_bundle):
    path = bundle.write_exits(make_family(bundle))
    (bundle.folder / "exits.json").rename(path.with_suffix(".old"))
    with pytest.raises(BundleError) as caught:
        Runtime(seq_bundle, exits=path.with_suffix(".old"))
    assert caught.value.code == "exits.other-bundle"


@pytest.mark.parametrize("exits", [0, 4, [1, 2], [[1]]])
def test_run_to_refuses_exits_that_do_not_exist(runtime, exits):
    with pytest.raises(InputError) as caught:
        runtime.run_to(make_inputs(3), np.array(exits))
    assert caught.value.code == "input.exits"
