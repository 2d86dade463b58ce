"""Records and costs of some of the exits, made from those of all, against the real ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import edgeexit
from edgeexit.calibrate.collect import collect_records, gate_layout, read_data
from edgeexit.calibrate.kept_exits import ExitFlops, check_early_exits, keep_records
from edgeexit.errors import InputError
from tests.calibrate.network import write_network
from tests.calibrate.synthetic import STATISTICS, Clusters, make_records, random_feature_logits

NEEDED = {(1, 2, 3): 100, (1,): 10, (2, 3): 200, (2,): 20, (3,): 300}
FLOPS = ExitFlops(NEEDED, (1, 2))


def test_a_subset_pays_for_what_it_needs_and_for_its_own_gates():
    assert FLOPS.static == 600
    assert FLOPS.spent((1, 2, 3)) == (111, 333, 633)
    assert FLOPS.spent((1, 3)) == (111, 611)
    assert FLOPS.spent((2, 3)) == (322, 622)
    assert FLOPS.spent((3,)) == (600,)
    assert FLOPS.table((1, 3)).per_exit == (111 / 600, 611 / 600)


def test_an_exit_adds_its_gate_and_what_no_other_needs():
    assert FLOPS.added(2, (1, 2, 3)) == pytest.approx(22 / 600)
    assert FLOPS.added(1, (2, 3)) == pytest.approx(11 / 600)


def test_operations_that_two_heads_share_are_refunded_with_the_second():
    shared = ExitFlops({(1, 2, 3): 100, (1, 2): 40, (1,): 1, (2,): 2, (3,): 300}, (0, 0))
    assert shared.added(2, (1, 3)) == pytest.approx(2 / 400)
    assert shared.spent((1, 3)) == (141, 441)
    assert shared.spent((2, 3)) == (142, 442)


def test_no_subset_leaves_at_an_exit_for_less_than_alone():
    free = FLOPS.alone()
    assert np.all(np.diff(free) > 0)
    for kept in ((1, 2, 3), (1, 3), (2, 3)):
        for number, cost in zip(kept, FLOPS.table(kept).per_exit, strict=True):
            assert free[number - 1] <= cost


def test_an_exit_dearer_than_a_later_one_still_gives_rising_bounds():
    free = ExitFlops({(1, 2): 10, (1,): 500, (2,): 90}, (5,)).alone()
    assert free[0] < free[1] == 1.0
    assert free[0] == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("gate", ["statistics", "patience"])
def test_records_of_a_subset_are_those_of_the_model_cut_so(tmp_path, gate):
    model = write_network(tmp_path / "model.onnx")
    points, labels = Clusters().draw(200, 5)
    data = {"x": points, "y": labels}
    found = {}
    for numbers in ((1, 2, 3, 4), (2, 3, 4)):
        bundle = edgeexit.compile_model(model, tmp_path / "m.eex", exits=numbers, gate=gate)
        with edgeexit.Runtime(bundle, exits=False) as runtime:
            dataset = read_data(data, bundle.manifest)
            found[len(numbers)] = collect_records(runtime, bundle.manifest, dataset)
    order = np.random.default_rng(0).permutation(len(points))
    hidden = Clusters().hidden(points[order])
    answers = [hidden[:, : len(head)] @ head for head in Clusters().heads]
    answers = np.stack([logits.argmax(axis=1) for logits in answers], axis=1)
    kept = keep_records(found[4], answers, (2, 3, 4))
    for name in ("features", "soft", "quality"):
        np.testing.assert_allclose(getattr(kept, name), getattr(found[3], name), atol=1e-4)
    assert kept.gate == found[3].gate


def test_all_exits_kept_change_nothing():
    records = make_records(500, 3)
    logits, _ = random_feature_logits(500, 3)
    answers = np.stack([array.argmax(axis=1) for array in logits], axis=1)
    kept = keep_records(records, answers, (1, 2, 3, 4))
    np.testing.assert_allclose(kept.features, records.features, atol=1e-6)


def test_a_gate_whose_features_are_not_known_is_refused():
    records = make_records(100, 3)
    strange = replace(STATISTICS, features=(*STATISTICS.features[:-1], "depth"))
    with pytest.raises(InputError, match="feature 'depth' is none of bias") as caught:
        keep_records(replace(records, gate=strange), np.zeros((100, 4), int), (1, 4))
    assert caught.value.code == "selection.gate"


def test_a_model_cut_at_one_exit_is_not_calibrated(tmp_path):
    model = write_network(tmp_path / "model.onnx")
    bundle = edgeexit.compile_model(model, tmp_path / "cut.eex", truncate=2)
    for refuse in (
        lambda: check_early_exits(bundle.manifest),
        lambda: gate_layout(bundle.manifest),
        lambda: edgeexit.calibrate_exits(bundle, {"x": np.zeros((60, 12), np.float32)}),
    ):
        with pytest.raises(InputError, match="was cut at exit_2, its only exit") as caught:
            refuse()
        assert caught.value.code == "calibrate.one-exit"
