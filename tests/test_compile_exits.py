"""Compiling with some of a model's exits: searched, by number, or one alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import edgeexit
from edgeexit.bundle.selection import read_selection
from edgeexit.compile_exits import WantedExits
from edgeexit.errors import InputError, ModelError
from tests.calibrate.network import write_network
from tests.calibrate.synthetic import CLASSES, WIDTHS, Clusters
from tests.calibrate.useless import HEAD_FLOPS, NAME, write_with_useless_exit

GATE_FLOPS = 12 * CLASSES + 30 + 20
TARGET = "cpu"


def data(samples=600):
    points, labels = Clusters().draw(samples, 5)
    return {"x": points, "y": labels}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """The model with a useless exit: compiled whole, and with the exits that a search keeps."""
    folder = tmp_path_factory.mktemp("kept")
    model = write_with_useless_exit(folder / "model.onnx")
    whole = edgeexit.compile_model(model, folder / "whole.eex", target=TARGET)
    kept = edgeexit.compile_model(
        model, folder / "kept.eex", target=TARGET, exits="auto", data=data()
    )
    return model, whole, kept


def test_a_useless_exit_is_dropped_and_the_bundle_says_why(bundles):
    _, _, kept = bundles
    selection = read_selection(edgeexit.Bundle.open(kept.folder))
    assert selection is not None
    assert selection.search is not None
    useless = selection.exits[2]
    assert (useless.name, useless.kept) == (NAME, False)
    assert useless.cost == pytest.approx(
        (HEAD_FLOPS + GATE_FLOPS) / kept.manifest.static_flops, rel=1e-9
    )
    assert useless.gain < -2 * useless.error < 0
    assert NAME not in [stage.exit.name for stage in kept.manifest.stages]
    assert selection.search.samples == 600
    assert (selection.search.subsets, selection.search.gap) == (15, 0.0)


def test_the_cost_falls_by_exactly_the_heads_and_gates_that_were_cut(bundles):
    _, whole, kept = bundles
    heads = {NAME: HEAD_FLOPS}
    heads |= {f"exit_{k}": 2 * width * CLASSES for k, width in enumerate(WIDTHS, 1)}
    names = {stage.exit.name for stage in kept.manifest.stages}
    cut = [stage.exit.name for stage in whole.manifest.stages if stage.exit.name not in names]
    refund = sum(heads[name] + GATE_FLOPS for name in cut)
    static = whole.manifest.static_flops
    assert kept.manifest.static_flops == static
    fallen = whole.manifest.flops_costs[-1] - kept.manifest.flops_costs[-1]
    assert round(fallen * static) == refund > HEAD_FLOPS


def test_the_kept_exits_answer_bit_for_bit_as_in_the_whole_model(bundles):
    _, whole, kept = bundles
    inputs = {"x": data()["x"][:64]}
    answers = {}
    for bundle in (whole, kept):
        with edgeexit.Runtime(bundle, exits=False) as runtime:
            logits = runtime.all_exits(inputs).logits
        names = [stage.exit.name for stage in bundle.manifest.stages]
        answers[bundle.folder.name] = dict(zip(names, logits, strict=True))
    for name, found in answers["kept.eex"].items():
        np.testing.assert_array_equal(found, answers["whole.eex"][name])
    assert all(
        exit_["identical"] for engine in kept.parity()["engines"] for exit_ in engine["batch_1"]
    )


def test_the_kept_exits_can_be_calibrated(bundles):
    _, _, kept = bundles
    found = edgeexit.calibrate_exits(kept, data(), 0.5)
    assert found.point.cost == pytest.approx(0.5, abs=0.01)


def test_exits_are_kept_by_number(bundles, tmp_path):
    model, _, _ = bundles
    bundle = edgeexit.compile_model(model, tmp_path / "m.eex", target=TARGET, exits=(5, 1, 2))
    assert [stage.exit.name for stage in bundle.manifest.stages] == ["exit_1", "exit_2", "exit_4"]
    selection = read_selection(bundle)
    assert selection is not None
    assert (selection.how, selection.kept, selection.search) == ("given", (1, 2, 5), None)


def test_a_model_cut_at_one_exit_is_one_stage_with_its_answers(bundles, tmp_path):
    model, whole, _ = bundles
    bundle = edgeexit.compile_model(model, tmp_path / "m.eex", target=TARGET, truncate=2)
    manifest = bundle.manifest
    assert [stage.gate for stage in manifest.stages] == [None]
    assert manifest.flops_costs == (1.0,)
    card = (bundle.folder / "README.md").read_text()
    assert "An edgeexit bundle: one exit, without gates, f32" in card
    assert 'edgeexit.Runtime("path/to/this/folder")' in card
    second = whole.manifest.stages[:2]
    first_head = 2 * WIDTHS[0] * CLASSES
    assert manifest.static_flops == sum(stage.flops for stage in second) - first_head
    points = data()["x"][:40]
    with edgeexit.Runtime(whole) as staged, edgeexit.Runtime(bundle) as cut:
        result = cut(points)
        np.testing.assert_array_equal(result.logits, staged.run_to(points, 2).logits)
        assert set(result.exits) == {1}
        stats = cut.stats()
        assert (stats.samples, stats.exits.tolist(), stats.scores.shape[0]) == (40, [40], 0)
        assert sum(len(each.labels) for each in cut.stream(iter(points[:9]))) == 9
        assert cut.run_to(points[:3], 1).cost == 1.0
    selection = read_selection(bundle)
    assert selection is not None
    assert (selection.how, selection.kept) == ("truncated", (2,))


@pytest.mark.slow
def test_int8_is_searched_and_cut_as_float_is(bundles, tmp_path):
    model, _, _ = bundles
    bundle = edgeexit.compile_model(
        model, tmp_path / "m.eex", target=TARGET, precision="int8", exits="auto",
        quant_data=data(200),
    )  # fmt: skip
    selection = read_selection(bundle)
    assert selection is not None
    assert selection.search is not None
    assert not selection.exits[2].kept
    assert bundle.parity()["vs_float"] is not None


def test_outputs_named_by_numbers_are_names(tmp_path):
    path = write_network(tmp_path / "model.onnx")
    model = onnx.load(path)
    for number, output in enumerate(model.graph.output, 1):
        old, output.name = output.name, str(490 + number)
        for node in model.graph.node:
            node.output[:] = [output.name if name == old else name for name in node.output]
    onnx.save(model, path)
    bundle = edgeexit.compile_model(path, tmp_path / "m.eex", target=TARGET, exits=("491", "494"))
    assert [stage.exit.name for stage in bundle.manifest.stages] == ["491", "494"]


REFUSED = {
    "no data": ({"exits": "auto"}, "selection.data", "found on data, and there are none"),
    "few": ({"exits": "auto", "data": data(49)}, "data.samples", "49 samples are too few to choo"),
    "range": ({"exits": ["1", "6"]}, "selection.number", "no exit 6: the model has 5 exits"),
    "zero": ({"exits": (0, 2)}, "selection.number", "there is no exit 0"),
    "twice": ({"exits": (1, 1, 2)}, "selection.duplicate", "exit 1 is given twice in 1,1,2"),
    "one": ({"exits": (4,)}, "selection.one-exit", "exit 4 alone would be kept"),
    "cut": ({"truncate": 9}, "selection.number", "there is no exit 9"),
    "both": ({"truncate": 2, "exits": "auto"}, "selection.truncate", "but --exits says which"),
    "budget": ({"budget": 0.5}, "selection.budget", "only where exits are searched"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_and_nothing_written(bundles, tmp_path, case):
    arguments, code, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        edgeexit.compile_model(bundles[0], tmp_path / "m.eex", target=TARGET, **arguments)
    assert caught.value.code == code
    assert not (tmp_path / "m.eex").exists()


def test_a_budget_below_the_first_exit_is_refused_and_nothing_written(bundles, tmp_path):
    with pytest.raises(edgeexit.BudgetError, match="outside what this model can do") as caught:
        edgeexit.compile_model(
            bundles[0], tmp_path / "m.eex", target=TARGET, exits="auto", data=data(), budget=0.01
        )
    assert caught.value.code == "budget.bounds"
    assert not (tmp_path / "m.eex").exists()


def test_a_model_with_one_output_is_refused_as_ever(tmp_path):
    path = write_network(tmp_path / "model.onnx")
    model = onnx.load(path)
    del model.graph.output[:-1]
    onnx.save(model, path)
    with pytest.raises(ModelError, match="the model has one exit") as caught:
        edgeexit.compile_model(path, tmp_path / "m.eex", exits="auto", data=data())
    assert caught.value.code == "model.single-output"


def test_numbers_count_among_the_exits_that_a_tuned_folder_names():
    wanted = WantedExits.of((1, 3), names=("early", "middle", "late"))
    assert (wanted.names, wanted.numbers) == (("early", "middle", "late"), (1, 3))
    assert WantedExits.of(("early", "late"), names=("early", "middle", "late")) == WantedExits(
        names=("early", "late")
    )
    assert WantedExits.of(None, truncate=1, names=("a", "b")).names == ("a", "b")
