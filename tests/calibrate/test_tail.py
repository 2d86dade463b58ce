"""A limit on the 95th percentile of time: the setting, what is refused, what is stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.bundle.bundle import Bundle
from edgeexit.bundle.exits import CostTable
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.calibrate.family import fit_family
from edgeexit.calibrate.nesting import gate_scores, leave
from edgeexit.calibrate.tail import (
    check_limit,
    fit_tail_family,
    parse_limit,
    tail_position,
)
from edgeexit.errors import BudgetError, InputError
from edgeexit.runtime.runtime import Runtime
from edgeexit.runtime.setting import mixed_shares
from tests.calibrate.call_times import evenly, keep_evenly
from tests.calibrate.synthetic import Clusters, make_records

TIMES = evenly((1.0, 2.0), (2.0, 4.0), (4.0, 7.0), (8.0, 12.0))
LATENCY = CostTable("latency", (1.5, 3.0, 5.5, 10.0), 9.5, "here")
FLOPS = CostTable("flops", (0.25, 0.45, 0.7, 1.05), 1.0)


def data(samples=600, seed=1):
    points, labels = Clusters().draw(samples, seed)
    return {"x": points, "y": labels}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def records():
    return make_records(3000, 1)


@pytest.mark.parametrize("limit", [2.0, 3.0, 5.0, 6.5, 8.0, 9.0, 11.0, 11.7])
def test_the_dearest_setting_within_the_limit(records, limit):
    family = fit_family(records, [LATENCY, FLOPS])
    position = tail_position(family, TIMES, limit)

    def percentile(place):
        return TIMES.percentile(mixed_shares(family.shares, place), 0.95)

    places = np.linspace(0, len(family.quality) - 1, 4001)
    within = places[[percentile(place) <= limit + 1e-9 for place in places]]
    # The search among 4,001 settings stops short of it by one of their steps at most.
    assert 0 <= position - within[-1] <= places[1]
    assert percentile(position) <= limit + 1e-6
    assert percentile(min(position + 0.5, places[-1])) > limit


def test_a_limit_that_the_last_exit_keeps_takes_the_dearest(records):
    family = fit_tail_family(records, [LATENCY, FLOPS], TIMES, 11.9)
    assert family.position(family.budget) == len(family.quality) - 1
    assert family.tail.reached <= TIMES.percentile((0, 0, 0, 1), 0.95) <= 11.8 + 1e-9


def test_what_calls_of_such_a_family_take(records):
    family = fit_tail_family(records, [LATENCY, FLOPS], TIMES, 6.0, manifest_digest="d")
    assert (family.tail.level, family.tail.limit, family.manifest_digest) == (0.95, 6.0, "d")
    assert family.tail.reached == pytest.approx(6.0, abs=1e-6)
    other = make_records(20_000, 2)
    taken = leave(gate_scores(other, family.params), family.settings(family.budget).thresholds)
    low, high = np.array([[row[0], row[-1]] for row in TIMES.exits]).T
    spent = low[taken] + np.random.default_rng(0).random(len(taken)) * (high - low)[taken]
    assert np.mean(spent <= 6.0) == pytest.approx(0.95, abs=0.01)


def test_a_policy_of_few_settings_takes_one_below(records):
    family = fit_family(records, [LATENCY, FLOPS])
    coarse = replace(
        family,
        discrete=True,
        thresholds=family.thresholds[::64],
        shares=family.shares[::64],
        quality=family.quality[::64],
    )
    position = tail_position(coarse, TIMES, 6.0)
    assert position == int(position)
    assert TIMES.percentile(coarse.shares[int(position)], 0.95) <= 6.0
    assert TIMES.percentile(coarse.shares[int(position) + 1], 0.95) > 6.0


def test_a_limit_below_exit_1_names_the_least_that_would_do(records):
    with pytest.raises(
        BudgetError, match=r"within 1.9 ms: .* exit 1, 95 % take up to 1.95 ms"
    ) as e:
        check_limit(1.9, TIMES)
    assert e.value.code == "p95.bounds"
    assert e.value.hint == "give --p95 1.952ms or more."
    check_limit(1.952, TIMES)
    family = fit_tail_family(records, [LATENCY, FLOPS], TIMES, 1.952)
    assert family.shares[0][0] == pytest.approx(1.0)
    assert family.tail.reached <= 1.952


@pytest.mark.parametrize("text", ["0.5", "40mJ", "12"])
def test_a_limit_is_a_time(text):
    assert parse_limit("12ms") == parse_limit(Budget(12.0, "latency")) == 12.0
    with pytest.raises(BudgetError, match=f"'{text}' is no limit for the 95th percentile") as e:
        parse_limit(text)
    assert (e.value.code, e.value.hint) == ("p95.syntax", "write for example --p95 12ms.")


def test_the_runtime_starts_at_that_setting(bundle):
    times = keep_evenly(Bundle.open(bundle), (1.0, 2.0), (2.0, 4.0), (4.0, 7.0), (8.0, 12.0))
    calibration = calibrate_exits(bundle, data(), p95="6ms")
    assert not calibration.recommended
    assert calibration.point.p95 == pytest.approx(6.0, abs=1e-6)
    assert np.dot(calibration.point.shares, times.shares_within(6.0)) == pytest.approx(0.95)
    forecast = [point.p95 for point in calibration.table]
    assert forecast == sorted(forecast)
    assert forecast[0] == pytest.approx(1.95)
    stored = Bundle.open(bundle).exits()
    assert stored.tail == calibration.family.tail
    assert stored.budget == calibration.point.budget
    assert (stored.budget.kind, set(stored.costs)) == ("latency", {"latency", "flops"})
    points, _ = Clusters().draw(4000, 2)
    with Runtime(bundle) as runtime:
        assert runtime.budget == stored.budget
        shares = np.bincount(runtime({"x": points}).exits - 1, minlength=4) / 4000
    assert np.dot(shares, times.shares_within(6.0)) == pytest.approx(0.95, abs=0.02)


def test_real_calls_are_timed_where_there_are_no_times(bundle):
    with pytest.raises(BudgetError, match="of the calls that leave at exit 1, 95 % take up to"):
        calibrate_exits(bundle, data(), p95="1e-6ms")
    calibration = calibrate_exits(bundle, data(), p95="60000ms")
    assert calibration.point.shares[-1] == pytest.approx(1.0)
    assert 0 < calibration.family.tail.reached < 60_000
    plain = calibrate_exits(bundle, data(), 0.5)
    assert (plain.family.tail, plain.point.p95) == (None, None)


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        ({"budget": 0.5}, "--budget would"), ({"max_drop": 1.0}, "--max-drop would"),
        ({"guarantee": 0.95, "iid": True, "budget": 0.5}, "--budget and --guarantee would"),
    ],
)  # fmt: skip
def test_a_limit_stands_alone(bundle, beside, named):
    with pytest.raises(InputError, match=named) as caught:
        calibrate_exits(bundle, data(), p95="6ms", **beside)
    assert caught.value.code == "p95.with"
    assert not (bundle / "exits.json").exists()
