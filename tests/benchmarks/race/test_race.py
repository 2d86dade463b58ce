"""That the race is fair: everyone has the same weights and leaves alike; never who is faster."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgeexit import demo
from edgeexit.bundle.bundle import Bundle
from edgeexit.compiler import compile_model
from edgeexit.dmpo.data.normalize import Normalize
from edgeexit.runtime.machine import Machine
from edgeexit.runtime.whole import WholeModel
from tests.benchmarks.folders import cache_folder
from tests.benchmarks.models import VIT
from tests.benchmarks.networks import VitSmall
from tests.benchmarks.race import earlyon_racer, rows
from tests.benchmarks.race.clock import race
from tests.benchmarks.race.course import make_course
from tests.benchmarks.race.line_up import EVERY_KIND, Heat, line_up
from tests.benchmarks.race.monolith import write_monolith
from tests.benchmarks.race.racer import Answers, Racer
from tests.benchmarks.race.torch_demo import demo_in_torch
from tests.benchmarks.race.torch_form import TorchForm, export_exits
from tests.benchmarks.race.vit import in_torch

WIDTH, EXITS, IMAGES = 96, 3, 192
HAS_EARLYON = not earlyon_racer.missing_earlyon()


class Flat(nn.Module):
    """Images of 7 x 7 means, as rows of numbers: the layers after it cost more than the first."""

    def __init__(self):
        super().__init__()
        self.scaling = Normalize([0.286], [0.353])

    def forward(self, image):
        return nn.functional.avg_pool2d(self.scaling(image), 4).flatten(1)


class Layered(nn.Module):
    """A perceptron with an exit after each of its layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.start = Flat()
        widths = [7 * 7] + [WIDTH] * EXITS
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, WIDTH), nn.ReLU()) for before in widths[:-1]
        )
        self.heads = nn.ModuleList(nn.Linear(WIDTH, 10) for _ in range(EXITS))

    def forward(self, image):
        values, logits = self.start(image), []
        for layer, head in zip(self.layers, self.heads, strict=True):
            values = layer(values)
            logits.append(head(values))
        return tuple(logits)

    def form(self):
        parts = [("start", self.start)]
        parts += [(f"layer_{i}", layer) for i, layer in enumerate(self.layers, start=1)]
        parts.append(("head", self.heads[-1]))
        names = tuple(f"layer_{i}" for i in range(1, EXITS))
        trunk = nn.Sequential(OrderedDict(parts))
        return TorchForm(trunk, names, tuple(self.heads[:-1]), (1, 1, 28, 28))


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def sets():
    with np.load(demo.calibration_path()) as file:
        calibration = {"image": file["image"], "y": file["y"]}
    with np.load(demo.evaluation_path()) as file:
        test = {"image": file["image"][:IMAGES], "y": file["y"][:IMAGES]}
    return calibration, test


@pytest.fixture(scope="module")
def course(sets):
    """A race of real images with a model that compiles within a second."""
    calibration, test = sets
    model = _trained(calibration).eval().requires_grad_(requires_grad=False)
    source = cache_folder() / "layered.onnx"
    export_exits(model, (1, 1, 28, 28), EXITS, source)
    bundles = {}
    for precision in ("f32", "int8"):
        folder = cache_folder() / f"layered-{precision}.eex"
        quant_data = {"image": calibration["image"][:64]} if precision == "int8" else None
        compile_model(source, folder, target="x86", precision=precision, quant_data=quant_data)
        bundles[precision] = Bundle.open(folder)
    return make_course("layered", "Layered", model.form(), bundles, calibration, test, rounds=3)


def test_the_demo_in_torch_says_what_its_onnx_file_says(sets):
    images = sets[1]["image"][:16]
    found = demo_in_torch().all_logits(images)
    wanted = onnxruntime.InferenceSession(demo.model_path()).run(None, {"image": images})
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_vit_in_parts_says_what_it_says_whole():
    torch.manual_seed(0)
    model = VitSmall().eval()
    image = VIT.random_inputs(2)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(image))
    for ours, theirs in zip(in_torch().all_logits(image), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.slow
def test_thresholds_are_about_one_probability_between_chance_and_certainty(course):
    assert len(course.thresholds) == EXITS - 1
    # Each lies midway between two scores of its own exit.
    assert np.ptp(course.thresholds) < 0.01
    assert 0.1 < course.thresholds[0] < 1


@pytest.mark.slow
def test_the_condition_on_probabilities_is_the_gate_s_on_log_odds(course):
    logits = course.form.all_logits(course.images)
    expected = _leaves(logits, course.thresholds)
    assert set(expected) == {1, 2, 3}, "every exit is taken, or the test would show little"
    with ExitStack() as stack:
        racers, _ = line_up(course, Heat(1, 1, others=False), stack)
        for device in ("x86", "cpu"):
            said = racers[f"edgeexit.{device}.f32"].answers(course.images, 1)
            np.testing.assert_array_equal(said.exits, expected)
            assert said.labels.tolist() == [
                int(logits[taken - 1][row].argmax()) for row, taken in enumerate(expected)
            ]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 32])
def test_if_graphs_leave_as_a_whole_at_the_least_sure_image(course, batch):
    logits = course.form.all_logits(course.images)
    alone = _leaves(logits, course.thresholds)
    expected = np.repeat(alone.reshape(-1, batch).max(axis=1), batch)
    path = cache_folder() / "if.onnx"
    outputs = write_monolith(course.bundles["f32"], course.thresholds, path)
    assert [node.op_type for node in onnx.load(str(path)).graph.node].count("If") == 1
    for device in ("x86", "cpu"):
        machine = Machine.of(course.bundles["f32"], device, 1)
        model = WholeModel(
            machine, path, course.bundles["f32"].manifest.inputs, outputs, batch=batch
        )
        for start in range(0, IMAGES, batch):
            values, taken = model(course.images[start : start + batch])
            assert taken.tolist() == [expected[start]]
            wanted = logits[int(taken[0]) - 1][start : start + batch]
            np.testing.assert_allclose(values, wanted, atol=1e-4)
        model.close()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_EARLYON, reason=earlyon_racer.INSTALL)
@pytest.mark.parametrize("batch", [1, 32])
def test_earlyon_leaves_where_edgeexit_does_or_with_its_hardest_image(course, batch):
    alone = _leaves(course.form.all_logits(course.images), course.thresholds)
    expected = np.repeat(alone.reshape(-1, batch).max(axis=1), batch)
    racers = earlyon_racer.earlyon_racers(course.form, course.thresholds, batch)
    assert [racer.name for racer in racers] == ["earlyon", "staged"][: 2 if batch == 1 else 1]
    for racer in racers:
        np.testing.assert_array_equal(racer.answers(course.images, batch).exits, expected)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_EARLYON, reason=earlyon_racer.INSTALL)
@pytest.mark.parametrize("batch", [1, 32])
def test_a_quick_race_yields_its_rows_with_decisions_and_accuracy_agreed(course, batch):
    found = {row.name: row for row in rows.heat_rows(course, Heat(batch, 1))}
    stem = f"race.layered.batch-{batch}.threads-1"
    keys = [f"earlyon.{device}.{precision}" for device, precision in EVERY_KIND]
    keys += ["accuracy", "decisions", "if.x86", "if.cpu", *["staged"] * (batch == 1)]
    assert set(found) == {f"{stem}.{key}" for key in keys}
    differ = found[f"{stem}.decisions"].values
    assert differ["edgeexit.x86.f32"] == differ["edgeexit.cpu.f32"] == 0
    if batch == 1:
        assert differ["earlyon"] == differ["staged"] == differ["if.x86"] == differ["if.cpu"] == 0
    accuracy = found[f"{stem}.accuracy"].values
    assert accuracy["if.cpu"] == accuracy["if.x86"] == accuracy["earlyon"]
    assert accuracy["torch"] == accuracy["static.x86.f32"] == accuracy["static.cpu.f32"] > 60
    judged = found[f"{stem}.earlyon.x86.int8"]
    assert judged.wanted == f"≥ {rows.WANTED[batch]:g}"
    assert judged.met is (judged.values["median"] >= rows.WANTED[batch])


def test_without_earlyon_its_rows_say_how_to_install_it_and_are_not_met(monkeypatch):
    monkeypatch.setattr(earlyon_racer.importlib.util, "find_spec", lambda _: None)
    times = {name: np.ones(3) for name in ("torch", "edgeexit.x86.int8", "static.x86.int8")}
    row = rows.earlyon_row("race.x", "X", 1, ("x86", "int8"), times)
    assert row.met is False
    assert row.value.startswith(
        "NOT RUN: earlyon is not installed; pip install --no-deps earlyon==0.3.0"
    )
    answers = {"torch": Answers(np.zeros(4, np.int64), np.ones(4, np.int64))}
    row = rows.accuracy_row("race.x", "X", answers, np.array([0, 0, 0, 1]))
    assert row.met is False
    assert row.value.endswith("PyTorch whole 75.00")


def test_accuracy_is_held_against_the_farthest_of_ours():
    labels = np.arange(1000) % 10
    answers = {
        name: Answers(np.where(np.arange(1000) < wrong, -1, labels), np.ones(1000, np.int64))
        for name, wrong in (("earlyon", 10), ("edgeexit.x86.f32", 10), ("edgeexit.x86.int8", 15))
    }
    row = rows.accuracy_row("race.x", "X", answers, labels)
    assert row.values["apart"] == pytest.approx(0.5)
    assert row.met is True
    answers["edgeexit.cpu.int8"] = Answers(np.roll(labels, 1), np.ones(1000, np.int64))
    assert rows.accuracy_row("race.x", "X", answers, labels).met is False


@pytest.mark.parametrize(("batch", "calls"), [(1, 20), (32, 1)])
def test_everyone_is_given_the_same_images_every_round(batch, calls):
    seen = {"a": [], "b": []}
    racers = {
        name: Racer(name, lambda given, name=name: seen[name].append(given.copy()), lambda _: None)
        for name in seen
    }
    images = np.arange(640, dtype=np.uint8).reshape(-1, 1)
    times = race(racers, images, batch, 3)
    assert {name: spent.shape for name, spent in times.items()} == {"a": (3,), "b": (3,)}
    np.testing.assert_array_equal(np.stack(seen["a"]), np.stack(seen["b"]))
    assert np.stack(seen["a"])[3:].shape == (3 * calls, batch, 1)


def test_all_cores_race_in_full_and_one_thread_beside_it():
    assert [(heat.batch, heat.threads, heat.others) for heat in rows.heats(4)] == [
        (1, 4, True), (32, 4, True), (1, 1, False), (32, 1, False),
    ]  # fmt: skip
    assert [heat.title for heat in rows.heats(1)] == ["batch 1, 1 thread", "batch 32, 1 thread"]


def _trained(data):
    """Train all exits for a moment on real images."""
    model = Layered()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    images, labels = (torch.from_numpy(data[name]) for name in ("image", "y"))
    for start in range(0, len(labels), 100):
        rows_ = slice(start, start + 100)
        losses = [nn.functional.cross_entropy(a, labels[rows_]) for a in model(images[rows_])]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
    return model


def _leaves(logits, thresholds):
    """Return the exit of every image: the first whose largest probability reaches its threshold."""
    found = np.full(len(logits[0]), len(logits))
    for number, limit in reversed(list(enumerate(thresholds, start=1))):
        top = torch.from_numpy(logits[number - 1]).softmax(dim=1).amax(dim=1).numpy()
        found[top >= limit] = number
    return found
