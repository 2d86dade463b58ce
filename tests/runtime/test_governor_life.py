"""What a governor takes and refuses, and how it lives with its runtime."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from families import make_family
from toy import make_inputs, write_bundle

from edgeexit.budget import Budget
from edgeexit.bundle.certificate import Certificate, CertifiedBudget
from edgeexit.errors import BudgetError, InputError
from edgeexit.runtime.goals import Joules, Reserve
from edgeexit.runtime.governor import Governor
from edgeexit.runtime.runtime import Runtime
from tests.runtime.governed import (
    FINE,
    fine_family,
    rows_of,
    scaled,
)


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path)


def test_a_certificate_is_void_under_a_governor(bundle, caplog):
    family = fine_family(bundle)
    last = len(FINE) - 1
    low, high = (float(c) for c in family.curve("flops")[[0, -1]])
    entries = (CertifiedBudget(Budget(low), 0.0), CertifiedBudget(Budget(high), float(last)))
    certificate = Certificate(0.95, "sample", 2000, 0, entries, None, None)
    bundle.write_exits(replace(family, certificate=certificate, budget=Budget(low)))
    with Runtime(bundle, threads=1) as runtime:
        governor = Governor(0.6)
        assert runtime._dial.certified == Budget(low)
        runtime.governor = governor
        assert governor.state.guarantee.startswith("voided")
        assert "voided" in caplog.text
        assert governor.begin(1, 0.0).setting.certified is None
        assert runtime.stats().governor["guarantee"].startswith("voided")
        runtime.governor = None
        assert runtime._dial.certified == Budget(low)


def test_it_takes_the_runtimes_budget_and_gives_it_back(bundle):
    bundle.write_exits(fine_family(bundle))
    with Runtime(bundle, 0.5, threads=1, governor=Governor()) as runtime:
        assert runtime.governor.budget == Budget(0.5)
        runtime.governor.budget = 0.8
        assert runtime.stats().budget == "0.8"
        assert runtime.stats().governor["goal"] == "0.8"
        runtime.governor = None
        assert runtime.budget == Budget(0.5)
        assert runtime.stats().governor is None


def test_a_reload_gives_the_governor_the_new_exits(bundle):
    family = fine_family(bundle)
    bundle.write_exits(family)
    with Runtime(bundle, threads=1, governor=Governor(0.6)) as runtime:
        before = runtime.governor.begin(1, 0.0).setting.limits
        bundle.write_exits(replace(family, thresholds=family.thresholds / 2))
        runtime.reload()
        after = runtime.governor.begin(1, 0.0).setting.limits
        assert after == pytest.approx(np.divide(before, 2).tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("goal", "code"),
    [(0.1, "budget.bounds"), (1.5, "budget.bounds"), ("soon", "budget.syntax"),
     (Joules(1.0), "governor.meter"), (Reserve(1.0, 1.0), "governor.meter")],
)  # fmt: skip
def test_goals_that_cannot_be_held_are_refused_and_the_old_one_stays(bundle, goal, code):
    bundle.write_exits(fine_family(bundle))
    with Runtime(bundle, 0.6, threads=1, governor=Governor()) as runtime:
        runtime(make_inputs(3))
        with pytest.raises(BudgetError) as caught:
            runtime.governor.budget = goal
        assert caught.value.code == code
        assert runtime.governor.budget == Budget(0.6)
        assert runtime.governor.state.calls == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: Joules(0), lambda: Joules(math.inf), lambda: Reserve(1, -1),
        lambda: Reserve(math.nan, 1),
    ],
)  # fmt: skip
def test_energies_must_be_positive(make):
    with pytest.raises(BudgetError, match="cannot be held") as caught:
        make()
    assert caught.value.code == "governor.goal"


@pytest.mark.parametrize(
    "wrong",
    [{"audit": 0.6}, {"eta": 0}, {"eta": 0.3}, {"hysteresis": -1}, {"deadline_ms": 0},
     {"meter_seconds": -1}],
)  # fmt: skip
def test_arguments_out_of_bounds_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))) as caught:
        Governor(0.5, **wrong)
    assert caught.value.code == "governor.argument"


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, "8ms"])
def test_a_deadline_that_is_none_leaves_the_old_one(wrong):
    governor = Governor(0.5, deadline_ms=20)
    with pytest.raises(InputError, match="deadline_ms cannot be") as caught:
        governor.deadline_ms = wrong
    assert caught.value.code == "governor.argument"
    assert governor.deadline_ms == 20


def test_it_needs_calibrated_exits_a_goal_and_a_runtime(bundle):
    with pytest.raises(BudgetError, match="no exits") as caught:
        Runtime(bundle, threads=1, governor=Governor(0.5))
    assert caught.value.code == "budget.uncalibrated"
    bundle.write_exits(make_family(bundle, budget=None))
    with pytest.raises(BudgetError, match="no goal"):
        Runtime(bundle, threads=1, governor=Governor())
    with pytest.raises(InputError, match="no runtime"):
        _ = Governor(0.5).state


def test_threads_share_it(bundle):
    bundle.write_exits(fine_family(bundle))
    governor = Governor(0.6, seed=1)
    inputs = rows_of(scaled(make_inputs(200, seed=1), 0.5))
    with Runtime(bundle, threads=1, governor=governor) as runtime:
        started = threading.active_count()

        def work(start):
            return [runtime(inputs[(start * 25 + step) % 200]).cost for step in range(400)]

        with ThreadPoolExecutor(8) as threads:
            costs = np.concatenate(list(threads.map(work, range(8))))
        assert threading.active_count() == started
        state = governor.state
        assert state.calls == state.inputs == 3200
        assert state.mean == pytest.approx(costs.mean())
        assert costs.mean() == pytest.approx(0.6, abs=0.015)


def test_rejected_samples_are_no_audits(bundle):
    bundle.write_exits(fine_family(bundle))
    governor = Governor(0.9, audit=0.5, seed=1)
    with Runtime(bundle, threads=1, governor=governor, on_invalid="last_exit") as runtime:
        bad = make_inputs(1)
        bad["x"][:] = np.nan
        assert [runtime(bad).exits[0] for _ in range(20)] == [3] * 20
        assert runtime.stats().audits == 0
        assert runtime.stats().audit_disagreement is None
