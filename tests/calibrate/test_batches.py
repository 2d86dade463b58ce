"""Budgets in milliseconds that are held in batches: what is fitted, stored, run and refused."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.specs import Compaction
from edgeexit.calibrate.batches import Batching, measured_batches, parse_batching
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.errors import BudgetError, InputError
from edgeexit.runtime.batch_modes import BatchTimes
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.profile import load_or_measure
from edgeexit.runtime.runtime import Runtime
from tests.calibrate.call_times import keep_evenly
from tests.calibrate.synthetic import Clusters
from tests.runtime.batch_times import keep_batches, made_batch
from tests.runtime.toy import write_bundle

SIZES = (1, 2, 4, 6, 8)
ONCE = np.array([1.0, 1.0, 2.0, 3.0])
EACH = np.array([0.25, 0.5, 0.5, 0.75])
"""Milliseconds of the four stages: of a run, and of each sample in it."""

TIMES = [made_batch(size, ONCE + size * EACH, static=6.5 + 1.75 * size) for size in SIZES]


def data(samples=600, seed=1):
    points, labels = Clusters().draw(samples, seed)
    return {"x": points, "y": labels}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def timed(bundle):
    """The bundle with those times in its device's cache."""
    keep_batches(Bundle.open(bundle), TIMES)
    return bundle


def priced(stages):
    """What the stages of a profiled runtime come to at those times."""
    return sum(ONCE[s.number - 1] * s.runs + EACH[s.number - 1] * s.slots for s in stages)


def drawn(samples, batches=1500):
    """Batches of 8 drawn from the calibration set, whose exit shares are known."""
    return samples["x"][np.random.default_rng(5).integers(0, len(samples["x"]), (batches, 8))]


@pytest.mark.parametrize("budget", ["0.7ms", "1.1ms"])
def test_batches_that_shrink_cost_the_budget(timed, budget):
    samples, wanted = data(2000), Budget.parse(budget).value
    calibration = calibrate_exits(timed, samples, budget, batch=8)
    assert calibration.point.cost == pytest.approx(wanted)
    with Runtime(timed) as runtime:
        assert runtime.stats().budget == f"{wanted:g} ms (compacted batches of 8)"
        with runtime.profile() as profile:
            for points in drawn(samples):
                runtime({"x": points})
    assert priced(profile.summary().stages) / 12_000 == pytest.approx(wanted, rel=0.03)


def test_batches_that_wait_cost_the_budget(timed):
    samples = data(2000)
    calibration = calibrate_exits(timed, samples, "1.2ms", batch=8, mode="whole")
    assert calibration.point.cost == pytest.approx(1.2)
    assert calibration.point.relative == pytest.approx(1.2 / TIMES[-1].static.p50 * 8)
    with Runtime(timed) as runtime:
        exits = runtime({"x": drawn(samples).reshape(12_000, -1)}).exits.reshape(-1, 8)
    spent = np.cumsum(ONCE + 8 * EACH)[exits.max(axis=1) - 1].mean() / 8
    assert spent == pytest.approx(1.2, rel=0.03)


def test_what_is_stored(timed):
    calibration = calibrate_exits(timed, data(), "1.2ms", batch=8, mode="whole")
    stored = Bundle.open(timed).exits()
    table = stored.costs["latency"]
    assert table == calibration.family.costs["latency"]
    assert (table.batch.mode, table.batch.size) == ("whole", 8)
    assert table.static == pytest.approx(20.5 / 8)
    # Where a whole batch leaves at one exit it is nobody's turn to wait.
    np.testing.assert_allclose(table.per_exit, np.cumsum(ONCE + 8 * EACH) / 8)
    np.testing.assert_allclose(table.errors, 0)
    times = BatchTimes(TIMES, SIZES, "whole", 8)
    rows = [times.each(shares) for shares in stored.shares]
    np.testing.assert_allclose(table.batch.per_row, np.maximum.accumulate(rows))
    curve = stored.curve("latency")
    assert (curve[0], curve[-1]) == pytest.approx((table.per_exit[0], table.per_exit[-1]))
    assert stored.budget == Budget(1.2, "latency")
    np.testing.assert_allclose(
        stored.curve("flops"), stored.shares @ stored.costs["flops"].per_exit
    )


def test_the_same_milliseconds_go_less_far_where_all_wait(timed):
    """At a time each: a batch that waits sends on fewer samples than one that shrinks."""
    found = {
        mode: calibrate_exits(timed, data(), "1.1ms", batch=8, mode=mode).point.shares
        for mode in ("compacted", "whole")
    }
    assert found["whole"][0] > found["compacted"][0] + 0.05


def test_without_a_budget_the_cheapest_good_point_is_recommended(timed):
    calibration = calibrate_exits(timed, data(), cost="latency", batch=8, max_drop=2.0)
    assert calibration.recommended
    assert calibration.point.drop <= 2.0
    costs = [point.cost for point in calibration.table]
    assert costs == sorted(costs)
    ends = calibration.family.costs["latency"].per_exit
    assert (costs[0], costs[-1]) == pytest.approx((ends[0], ends[-1]))


def test_errors_are_those_of_a_sample(timed):
    spread = [
        dataclasses.replace(
            batch, stages=tuple(dataclasses.replace(s, p90=s.p50 + 0.4) for s in batch.stages)
        )
        for batch in TIMES
    ]
    keep_batches(Bundle.open(timed), spread)
    with Runtime(timed, exits=False) as runtime:
        _, table = measured_batches(runtime, Batching("compacted", 8))
    each = 1.2533 * 0.4 / 1.2816 / 3 / 8
    np.testing.assert_allclose(table.errors, each * np.arange(1, 5))


def test_sizes_without_times_are_measured(bundle, monkeypatch):
    quick = partial(load_or_measure, seconds=0.01)
    monkeypatch.setattr("edgeexit.calibrate.batches.load_or_measure", quick)
    machine = Machine.of(Bundle.open(bundle))
    keep_batches(Bundle.open(bundle), TIMES[:3])
    calibration = calibrate_exits(bundle, data(), cost="latency", batch=6)
    kept = machine.cache.read_json("profile")
    assert [batch["batch"] for batch in kept["batches"]] == [1, 2, 4, 6]
    table = calibration.family.costs["latency"]
    assert table.static == pytest.approx(kept["batches"][-1]["static"]["p50"] / 6)
    assert table.fingerprint == machine.fingerprint


def test_a_budget_out_of_bounds_names_both(timed):
    for budget in ("0.3ms", "3ms"):
        with pytest.raises(BudgetError) as caught:
            calibrate_exits(timed, data(), budget, batch=8, mode="whole")
        assert caught.value.code == "budget.bounds"
        assert "costs 0.375 ms (whole batches of 8)" in caught.value.message
        assert "last 2.875 ms (whole batches of 8)" in caught.value.message
    assert not (timed / "exits.json").exists()


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ({"batch": 8}, "kind", "--batch 8 goes with a budget in milliseconds: one in FLOPs holds"),
        ({"mode": "single"}, "kind", "--mode single goes with a budget in milliseconds"),
        ({"budget": 0.5, "batch": 8, "cost": "latency"}, "kind", "one in FLOPs holds in every"),
        ({"cost": "energy", "batch": 8}, "kind", "energy is measured in single calls only"),
        ({"cost": "latency", "mode": "whole"}, "mode", "--mode whole says how a batch runs, but"),
        ({"cost": "latency", "mode": "single", "batch": 8}, "mode", "holds one sample, not 8"),
        ({"cost": "latency", "batch": 0}, "size", "a batch of 0 is none"),
        ({"cost": "latency", "batch": "8"}, "size", "a batch of '8' is none"),
        ({"cost": "latency", "batch": 8, "mode": "padded"}, "mode", "'padded' is no mode"),
        ({"cost": "latency", "batch": 7}, "size", "batches of 7 do not run as they are on cpu: th"),
        ({"cost": "latency", "batch": 33}, "size", "they are cut into parts of 32"),
        ({"p95": "6ms", "batch": 8}, "with", "and --p95 would add them up"),
        (
            {"cost": "latency", "batch": 8, "guarantee": 0.95, "iid": True},
            "with",
            "and --guarantee would add them up",
        ),
    ],
)
def test_what_is_refused(timed, asked, code, words):
    keep_evenly(Bundle.open(timed), (1.0, 2.0), (2.0, 4.0), (4.0, 7.0), (8.0, 12.0))
    with pytest.raises(InputError, match=words) as caught:
        calibrate_exits(timed, data(), **asked)
    assert caught.value.code == f"batch.{code}"
    assert not (timed / "exits.json").exists()


@pytest.mark.parametrize(
    ("size", "mode"), [(None, None), (None, "single"), (1, None), (1, "whole")]
)
def test_single_calls_are_no_batch(size, mode):
    kind = "flops" if size is mode is None else "latency"
    assert parse_batching(size, mode, kind, {"--p95": 1.0}) is None


def test_rows_that_must_not_leave_have_no_batches(tmp_path):
    mixed = write_bundle(tmp_path, compaction=Compaction(False, "rows are mixed"))
    with (
        Runtime(mixed) as runtime,
        pytest.raises(InputError, match=r"run one by one \(rows are mixed\)") as caught,
    ):
        measured_batches(runtime, Batching("whole", 8))
    assert caught.value.code == "batch.alone"
