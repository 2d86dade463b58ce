"""That the calibration benchmarks count rightly; never how good anything is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgeexit.bundle.exits import CostTable
from tests.benchmarks.calibration import guarantee, page, points, policies, pools, speed
from tests.benchmarks.calibration.__main__ import SUBJECTS
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.rows import Effort
from tests.calibrate.synthetic import COSTS, make_records


@pytest.fixture
def pool(monkeypatch):
    made = pools.Pool("made", "made up", make_records(2000, 1), CostTable("flops", COSTS, 1.0))
    for module in (guarantee, points, policies):
        monkeypatch.setattr(module, "POOLS", {"made": lambda _: made})
    return made


def test_clips_keep_the_pool_s_mean_and_hold_half_of_the_variance(pool):
    score = pool.records.features[:, 0, 1]
    drawn = pool.clips(4000, 20, np.random.default_rng(0))
    found = drawn.features[:, 0, 1].reshape(4000, 20)
    assert found.mean() == pytest.approx(score.mean(), abs=0.02)
    between = found.mean(axis=1).var() - found.var(axis=1, ddof=1).mean() / 20
    assert between / score.var() == pytest.approx(0.5, abs=0.05)
    assert len(np.unique(drawn.group)) == 4000


def test_subjects_give_tables(pool, monkeypatch):
    monkeypatch.setattr(policies, "SIZES", (200,))
    monkeypatch.setattr(policies, "WANTED_FROM", 200)
    for module in (guarantee, points, policies):
        table = module.run(Effort(quick=True), "made")
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert len(table.values) == len(table.rows) > 0
    assert table.goals
    assert "gain-soft" in table.columns


def test_an_outcome_counts_draws_over_budget():
    found = guarantee.Outcome(np.array([0.4, 0.5, 0.50001, 0.6]), 1, 0.9)
    assert found.exceeded == 0.5


def test_a_refused_draw_leaves_everything_at_exit_1(pool):
    found = guarantee.outcome(pool, guarantee.Case(clips=5), 2)
    assert found.refused == 2
    np.testing.assert_array_equal(found.costs, COSTS[0])


def test_speed_measures_a_real_fit():
    found = speed.measure("single", 2000)
    assert 0 < found["seconds"] < 60
    assert 0 < found["gib"] < 64
    assert speed.made_up_records(100).num_exits == speed.EXITS


def test_the_page_keeps_what_others_wrote(tmp_path):
    file = tmp_path / "calibration.md"
    file.write_text(f"Before\n{page.BEGIN}\nold\n{page.END}\nAfter\n")
    run = page.Run("the command", 1.0, describe_machine())
    for name, met in (("points", True), ("guarantee", False)):
        goal = page.Goal(f"goal of {name}", "0.1", "< 1", met)
        table = page.Table(f"Title of {name}", "Note.", ("a", "b"), [["1", "x | y"]], [goal])
        page.write_page(tmp_path, name, table, run, SUBJECTS)
    text = file.read_text()
    assert text.startswith("Before\n")
    assert text.endswith("\nAfter\n")
    assert "old" not in text
    assert "1 of 2 wanted figures are met" in text
    assert "- not met: goal of guarantee: 0.1 (wanted: < 1)" in text
    assert text.index("Title of guarantee") < text.index("Title of points")
    assert r"x \| y" in text
    assert set(json.loads((tmp_path / "calibration.json").read_text())) == {"points", "guarantee"}
    file.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the line"):
        page.write_page(tmp_path, "points", table, run, SUBJECTS)


def test_every_subject_has_its_module():
    assert SUBJECTS == ("guarantee", "points", "policies", "speed")
    for module in (guarantee, points, policies, speed):
        assert module.TITLE
        assert module.NOTE
