"""The search for the exits to keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeexit.budget import Budget
from edgeexit.calibrate.builder import RecordBuilder
from edgeexit.calibrate.kept_exits import ExitFlops
from edgeexit.calibrate.subset_judge import Judge, standard_error
from edgeexit.calibrate.subsets import search_exits
from edgeexit.errors import BudgetError, InputError
from tests.calibrate.synthetic import STATISTICS, random_feature_logits, statistics_gate

NAMES = ("a", "b", "bad", "c", "d")
TRUNK = {(1, 2, 3, 4, 5): 200, (2, 3, 4, 5): 250, (4, 5): 250, (5,): 300}


def with_a_bad_exit(samples=2000, seed=1, bad=1):
    """Records and answers of five exits, the third of which answers at random."""
    logits, labels = random_feature_logits(samples, seed)
    noise = np.random.default_rng(9)
    logits[2:2] = [noise.standard_normal(logits[0].shape).astype(np.float32) for _ in range(bad)]
    builder = RecordBuilder(STATISTICS, len(logits))
    builder.add(logits, statistics_gate(logits), labels)
    return builder.build(), np.stack([array.argmax(axis=1) for array in logits], axis=1)


RECORDS, ANSWERS = with_a_bad_exit()


def flops_of(*heads):
    """FLOPs with these heads before the last exit, gates 1 each."""
    own = {(number,): cost for number, cost in enumerate(heads, 1)}
    return ExitFlops(TRUNK | own, (1,) * 4)


@pytest.fixture(scope="module")
def found():
    return search_exits(RECORDS, ANSWERS, flops_of(2, 2, 150, 2), NAMES)


def test_an_exit_that_costs_more_than_it_saves_is_dropped(found):
    bad = found.exits[2]
    assert not bad.kept
    assert bad.cost == pytest.approx(151 / 1000)
    assert bad.gain < -2 * bad.error < 0
    assert found.kept[-1] == 5
    assert found.search.gain > 2 * found.search.gain_error


def test_all_subsets_were_tried_and_none_is_better(found):
    search = found.search
    assert (search.method, search.subsets, search.gap) == ("exhaustive", 15, 0.0)
    assert len({tried.exits for tried in search.tried}) == 15
    assert search.relaxed_gap is None
    assert search.tried[0].behind == search.tried[0].error == 0
    qualities = [tried.quality for tried in search.tried if tried.quality is not None]
    assert qualities == sorted(qualities, reverse=True)
    assert search.budgets == (0.3, 0.5, 0.7)


def test_fewer_exits_are_kept_where_the_difference_is_within_its_error(found):
    search = found.search
    assert 0 <= search.given_up <= search.given_up_error + 1e-9
    near = [t for t in search.tried if t.behind is not None and t.behind <= t.error + 1e-9]
    assert len(found.kept) == min(len(tried.exits) for tried in near)


def test_a_subset_out_of_reach_of_a_budget_is_out(found):
    for tried in found.search.tried:
        assert (tried.quality is None) == (tried.exits[0] != 1)
    assert found.exits[0].kept
    late = search_exits(RECORDS, ANSWERS, flops_of(2, 2, 150, 2), NAMES, Budget(0.8))
    assert all(tried.quality is not None for tried in late.search.tried if tried.exits[0] < 4)


def test_an_exit_worth_its_head_is_kept():
    records, answers = with_a_bad_exit(6000)
    found = search_exits(records, answers, flops_of(2, 2, 2, 2), NAMES, Budget(0.45))
    assert 2 in found.kept
    assert found.exits[1].gain > 2 * found.exits[1].error


def test_judged_quality_is_that_of_the_whole_curve_at_the_budget():
    """All samples leaving at exit 1 is what a budget of c_1 buys; c_K buys the last row."""
    flops = flops_of(2, 2, 150, 2)
    table = flops.table((1, 5))
    for budget, column in ((table.per_exit[0], 0), (table.per_exit[-1], 4)):
        judge = Judge(RECORDS, ANSWERS, flops, (budget,), 0)
        np.testing.assert_array_equal(judge((1, 5)), RECORDS.quality[:, column])


def test_the_error_counts_groups_not_samples():
    values = np.random.default_rng(0).standard_normal(500)
    copies = np.repeat(np.arange(500), 4)
    alone = standard_error(values, np.arange(500))
    assert alone == pytest.approx(values.std(ddof=1) / np.sqrt(500))
    assert standard_error(values[copies], copies) == pytest.approx(alone)
    assert standard_error(values[copies], np.arange(2000)) == pytest.approx(alone / 2, rel=1e-2)


def test_a_greedy_search_says_what_it_may_have_missed():
    flops = flops_of(2, 2, 150, 2)
    whole = search_exits(RECORDS, ANSWERS, flops, NAMES)
    greedy = search_exits(RECORDS, ANSWERS, flops, NAMES, exhaustive_exits=4)
    search = greedy.search
    assert (search.method, search.subsets) == ("greedy", 15)
    assert len(search.tried) < 15
    assert not greedy.exits[2].kept
    missed = 100 * (whole.search.tried[0].quality - search.tried[0].quality)
    assert missed <= search.gap
    assert 0 <= search.relaxed_gap <= search.gap


def test_the_bound_is_at_most_what_an_oracle_has_for_nothing():
    search = search_exits(
        RECORDS, ANSWERS, flops_of(2, 2, 150, 2), NAMES, exhaustive_exits=4
    ).search
    best = search.tried[0].quality
    oracle = RECORDS.quality.max(axis=1).mean()
    assert best + search.gap / 100 <= oracle + 1e-9


def test_without_labels_quality_is_agreement():
    logits, _ = random_feature_logits(400, 1)
    builder = RecordBuilder(STATISTICS, 4)
    builder.add(logits, statistics_gate(logits))
    answers = np.stack([array.argmax(axis=1) for array in logits], axis=1)
    flops = ExitFlops({(1, 2, 3, 4): 220, (2, 3, 4): 230, (3, 4): 270, (4,): 280}, (1, 1, 1))
    found = search_exits(builder.build(), answers, flops, NAMES[:4])
    assert found.search.quality_kind == "agreement"
    assert found.search.quality < 1


def test_two_exits_leave_nothing_to_search():
    logits, labels = random_feature_logits(200, 1)
    builder = RecordBuilder(STATISTICS, 2)
    builder.add(logits[2:], statistics_gate(logits[2:]), labels)
    answers = np.stack([array.argmax(axis=1) for array in logits[2:]], axis=1)
    flops = ExitFlops({(1, 2): 500, (2,): 500}, (1,))
    found = search_exits(builder.build(), answers, flops, NAMES[:2])
    assert found.kept == (1, 2)
    assert found.search.subsets == len(found.search.tried) == 1
    assert found.exits[0].gain is None
    # All three budgets are out of reach but the last: 0.5 is below c_1 = 0.501.
    assert found.search.budgets == (0.7,)


@pytest.mark.parametrize(
    ("budget", "code", "message"),
    [
        (Budget(0.1), "budget.bounds", "budget 0.1 is outside what this model can do"),
        (Budget(8, "latency"), "budget.kind", "exits are chosen by counted cost, and 8 ms is"),
    ],
)
def test_budgets_that_cannot_be_met_are_refused(budget, code, message):
    with pytest.raises(BudgetError, match=message) as caught:
        search_exits(RECORDS, ANSWERS, flops_of(2, 2, 150, 2), NAMES, budget)
    assert caught.value.code == code


def test_groups_that_cannot_be_halved_are_refused():
    grouped = replace(RECORDS, group=np.minimum(np.arange(len(RECORDS)), 1))
    with pytest.raises(InputError, match="the data have a part of 1 samples") as caught:
        search_exits(grouped, ANSWERS, flops_of(2, 2, 150, 2), NAMES)
    assert caught.value.code == "selection.groups"
