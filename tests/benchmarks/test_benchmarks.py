"""That the benchmarks count and pair rightly; never how fast anything is."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from edgeexit.runtime.runtime import Runtime
from tests.benchmarks import call_cost, machine, models, report, threads
from tests.benchmarks.batch_cost import _slots, surviving_buckets
from tests.benchmarks.calibrated import spread_exits, tilt
from tests.benchmarks.int8_layers import WEIGHTED, count_int8
from tests.benchmarks.measure import Comparison, Excess, interleave, turn
from tests.benchmarks.memory import slope_of
from tests.benchmarks.models import TINY, open_bundle, without_gates
from tests.benchmarks.rows import Effort, Row


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_turns_let_everyone_come_at_every_place_equally_often():
    names = ["a", "b", "c"]
    orders = [turn(names, number) for number in range(6)]
    for place in range(3):
        assert sorted(order[place] for order in orders) == ["a", "a", "b", "b", "c", "c"]
    pairs = [pair for order in orders for pair in itertools.pairwise(order)]
    assert all(pairs.count((a, b)) == 2 for a in names for b in names if a != b)


def test_interleave_calls_all_alike_and_leaves_warm_rounds_out():
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleave(contenders, seconds=0, least=4, warm=2)
    assert {name: spent.shape for name, spent in times.items()} == {"a": (4,), "b": (4,)}
    assert calls == ["a", "b"] * 2 + ["a", "b", "b", "a", "b", "a", "a", "b"]


def test_interleave_stops_at_most():
    assert len(interleave({"a": int}, seconds=60, least=1, most=5)["a"]) == 5


def test_comparison_removes_what_disturbs_a_whole_round_and_divides_by_same():
    disturbed = np.random.default_rng(0).uniform(1, 9, 40)
    found = Comparison.of(1.5 * disturbed, disturbed, 1.25 * disturbed)
    assert found.ratio.median == pytest.approx(1.5)
    assert found.same.median == pytest.approx(1.25)
    assert found.normalised == found.low == found.high == pytest.approx(1.2)
    assert found.ratio.of_minima == pytest.approx(1.5)


def test_comparison_has_an_interval_around_the_median_of_noisy_pairs():
    rng = np.random.default_rng(1)
    below, again = (1 + 0.1 * rng.standard_normal(200) for _ in range(2))
    found = Comparison.of(1.1 * (1 + 0.1 * rng.standard_normal(200)), below, again)
    assert found.low < found.normalised < found.high
    assert found.low < 1.1 < found.high
    assert found.high - found.low < 0.15


def test_excess_is_in_microseconds_a_part():
    below = np.array([1.0, 2.0, 3.0])
    found = Excess.of(below + np.array([0.04, 0.06, 0.08]), below, parts=4)
    assert found.median == pytest.approx(15.0)
    assert found.of_minima == pytest.approx(10.0)
    assert found.text().startswith("15.0 [")


def test_tilted_shares_have_the_mean_and_the_order_of_the_given_ones():
    costs = [0.25, 0.5, 0.75, 1.0]
    shares = tilt([0.5, 0.2, 0.2, 0.1], costs, 0.5)
    assert shares.sum() == pytest.approx(1)
    assert shares @ costs == pytest.approx(0.5)
    ratios = np.log(shares / [0.5, 0.2, 0.2, 0.1])
    assert np.diff(ratios) == pytest.approx(np.full(3, np.diff(ratios)[0]))


def test_spread_exits_keep_the_shares_and_mix_every_block_alike():
    exits = spread_exits(np.array([0.45, 0.25, 0.2, 0.1]), 6, 20)
    assert np.bincount(exits).tolist() == [0, 54, 30, 24, 12]
    mixes = [np.bincount(block, minlength=5) for block in exits.reshape(6, 20)]
    assert np.ptp(mixes, axis=0).max() <= 1


def test_surviving_buckets_shrink_and_never_grow():
    exits = np.array([1] * 15 + [2] * 8 + [4] * 9)
    assert surviving_buckets(exits, 4, (1, 8, 16, 32)) == (32, 32, 16, 16)
    assert surviving_buckets(np.array([1, 1, 2]), 4, (1, 2, 4)) == (4, 1)


def test_a_slope_of_memory_is_found_under_steps_and_knows_its_error():
    calls = np.arange(160) * 500.0
    assert slope_of(calls, np.full(160, 1e8)) == (0.0, 0.0)
    slope, error = slope_of(calls, 1e8 + 32 * calls)
    assert slope == pytest.approx(32)
    assert error == pytest.approx(0, abs=1e-6)
    steps = np.random.default_rng(0).standard_normal(160)
    alone = slope_of(calls, 4096 * steps)[1]
    walk = slope_of(calls, 4096 * np.convolve(steps, np.ones(20) / 20**0.5, "same"))[1]
    assert walk > 3 * alone


def test_slots_of_a_call_are_those_that_its_stages_ran_at():
    bundle = open_bundle(TINY, "f32")
    with Runtime(bundle, target="cpu", exits=False, threads=1) as runtime:
        exits = np.array([1] * 3 + [4] * 5)
        images = TINY.random_inputs(8)
        assert _slots(runtime, lambda: runtime.run_to(images, exits)) == "8, 6, 6, 6"


def test_threads_and_the_serial_answers(monkeypatch):
    bundle = open_bundle(TINY, "f32")
    images = TINY.random_inputs(8)
    monkeypatch.setattr(threads, "_CALLS", 500)
    with Runtime(bundle, target="cpu", exits=False, threads=1) as runtime:
        row = threads._equality(runtime, images, Effort(quick=True))
        assert (row.values["wrong"], row.values["calls"], row.met) == (0, 160, True)
        places = np.random.default_rng(0).integers(0, 8, 20).tolist()
        serial = [threads._bits(runtime(image[None])) for image in images]
        serial[places[0]] = serial[(places[0] + 1) % 8]
        wrong = threads._wrong(runtime, images, serial, 20, 0)
        assert wrong == places.count(places[0])


def test_int8_layers_are_counted_by_type():
    told = [("Convolution", "u8"), ("FullyConnected", "bf16"), ("MatMul", "i8"), ("Reorder", "i8")]
    assert count_int8(told, WEIGHTED) == (1, 2)


def test_gates_are_cut_off_and_nothing_else():
    bundle = open_bundle(TINY, "f32")
    bare = without_gates(bundle)
    for with_gate, stage in zip(bundle.manifest.stages, bare.manifest.stages, strict=True):
        assert stage.gate is None
        cut = {spec.name for spec in with_gate.produced} - {spec.name for spec in stage.produced}
        gate = with_gate.gate
        assert cut == ({gate.score, gate.features_output, *gate.state} if gate else set())
        assert stage.exit == with_gate.exit
    sample = TINY.random_inputs(1)
    for kept, whole in zip(_logits(bare, sample), _logits(bundle, sample), strict=True):
        np.testing.assert_array_equal(kept, whole)


def _logits(bundle, sample):
    from edgeexit.runtime.engines import EngineSet
    from edgeexit.runtime.machine import Machine
    from edgeexit.runtime.plan import Plan

    plan = Plan.of(bundle.manifest)
    files = [bundle.folder / stage.file for stage in plan.stages]
    engines = EngineSet(Machine.of(bundle, "cpu", 1), plan, files, 1)
    lane = engines.lane(1, ())
    lane.write([sample])
    for run in lane.runs:
        run()
    logits = [lane.single_logits(index) for index in range(plan.exits)]
    engines.close()
    return logits


def test_a_subject_yields_rows_and_the_report_takes_them_up(tmp_path, monkeypatch):
    monkeypatch.setattr(call_cost, "DEMO", models.TINY)
    monkeypatch.setattr(call_cost, "interleave", _two_rounds)
    rows = tuple(call_cost.run(Effort(quick=True)))
    assert {row.name for row in rows} == {"call-cost.tiny.x86", "call-cost.tiny.cpu"}
    assert all(row.met in (True, False) and row.same and row.values for row in rows)
    section = report.Section(
        "call_cost", "Title", "Note.", "the command", True, 1.0, machine.describe_machine(), rows
    )
    page = tmp_path / "benchmarks.md"
    page.write_text(f"Before\n{report.BEGIN}\nold\n{report.END}\nAfter\n")
    report.write_report(tmp_path, [section])
    text = page.read_text()
    assert text.startswith("Before\n")
    assert text.endswith("\nAfter\n")
    assert "old" not in text
    assert "| what | value | against itself | wanted | met |" in text
    assert f"of {len(rows)} wanted figures are met" in text
    assert "the command" in text
    assert "quick run" in text
    kept = json.loads((tmp_path / "benchmarks.json").read_text())
    assert kept["call_cost"]["rows"][0]["name"] == rows[0].name


def test_a_report_keeps_the_sections_of_other_runs(tmp_path):
    state = machine.describe_machine()
    for name in ("import_cost", "parity"):
        row = Row(f"{name}.row", "what", "1 | 2")
        section = report.Section(name, name, "Note.", "command", False, 1.0, state, (row,))
        report.write_report(tmp_path, [section])
    text = (tmp_path / "benchmarks.md").read_text()
    assert text.index("## parity") < text.index("## import_cost")
    assert r"1 \| 2" in text


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="lacks the line"):
        report.replace_between("text", "tables")


def _two_rounds(contenders, **_):
    return interleave(contenders, seconds=0, least=2, warm=1)
